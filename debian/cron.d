# The minute lies between those of the firewall's own jobs (5, 20, 35, 50 and
# 10, 25, 40, 55). Settings: /etc/default/symbiosis-connect-acl
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# What the firewall has counted goes to hosts.db, which Exim asks. When nothing
# has changed it reads 100 bytes.
* * * * *   root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db sync
# Daily care of both databases: old rows out, a check, a copy of hosts.db.
43 4 * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db maintain
