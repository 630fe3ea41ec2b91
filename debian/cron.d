# The minute lies between those of the firewall's own jobs (5, 20, 35, 50 and
# 10, 25, 40, 55). Settings: /etc/default/symbiosis-connect-acl
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Bring what the firewall has counted to hosts.db, which Exim asks. When nothing
# has changed, this reads 100 bytes. It stays for the minute with hosts.db open:
# that spares Exim's connections the work of the last one to close it.
* * * * *   root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db sync --stay
# Each night: delete old rows from both databases, check both, copy hosts.db.
43 4 * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db maintain
# What happened at the door: a mail each Monday and metrics each hour, if they are
# set in /etc/default/symbiosis-connect-acl.
23 6 * * 1  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db report --scheduled weekly
27 * * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db report --scheduled hourly
