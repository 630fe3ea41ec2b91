# Makes Sympl's text out of Symbiosis': paths, package and command names.
# The macros keep their names (they are in capitals with an underscore), so
# that what is said about them is true of both, and so does the snippet
# 30-check-symbiosis-db.
s/check-symbiosis-db/check-@keep@-db/g
# Sympl's packages carry other names for the same things.
s/symbiosis-email/sympl-mail/g
s/symbiosis/sympl/g
s/Symbiosis/Sympl/g
s/SYMBIOSIS-CONNECT/SYMPL-CONNECT/g
s/check-@keep@-db/check-symbiosis-db/g
