# Daily care of the firewall's count database: old rows out, index kept. The
# minute lies between those of the firewall's own jobs (5, 20, 35, 50 and 10,
# 25, 40, 55). Settings: /etc/default/symbiosis-connect-acl
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin

43 4 * * *  root  [ ! -x /usr/sbin/symbiosis-connect-db ] || symbiosis-connect-db maintain
