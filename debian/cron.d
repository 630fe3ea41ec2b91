# The minutes lie between those of the firewall's own jobs (5, 20, 35, 50 and
# 10, 25, 40, 55). Settings: /etc/default/symbiosis-connect-acl
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Bring what the firewall has counted to hosts.db, which Exim asks. When nothing
# has changed, this reads 100 bytes. It stays for the minute with hosts.db open:
# that spares Exim's connections the work of the last one to close it.
* * * * *   root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db sync --stay
# Renew the firewall's blocks of hosts that go on trying, or say which it would.
3-58/5 * * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db retain
# Look up the host names in /etc/exim4/whitelist_connect_hosts, if there are any:
# each every five minutes, or sooner when its DNS records say so.
* * * * *   root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db names
# Where a zone is configured that several servers share: publish the hosts that
# are worth it. This waits a moment for the line above. The service
# symbiosis-connect-publish does the same at once; beside it, this does nothing.
* * * * *   root  ! grep -qs '^CONNECT_ACL_PUBLISH_SERVER=.' /etc/default/symbiosis-connect-acl || [ ! -x /usr/sbin/symbiosis-connect-db ] || { sleep 5; nice symbiosis-connect-db publish; }
# Each night: delete old rows from both databases, check both, copy hosts.db.
43 4 * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db maintain
# What happened at the door: a mail each Monday and metrics each hour, if they are
# set in /etc/default/symbiosis-connect-acl.
23 6 * * 1  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db report --scheduled weekly
27 * * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || nice symbiosis-connect-db report --scheduled hourly
