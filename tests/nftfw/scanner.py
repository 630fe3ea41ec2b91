"""Reads pattern files and logs as nftfw does, and keeps what it finds as nftfw does.

Usage: scanner.py ETC VAR, the directories that nftfw has in /etc and /var/lib,
with the root of the file system that the logs are in as the environment's ROOT.

What nftfw does that matters here: the first pattern that matches takes the
line; a line counts once, whatever the number of ports; IPv6 hosts are kept by
/112; an address that is not global is passed over; the database has one row
for each host; a host with ten matches has a file in blacklist.d.
"""
import glob
import ipaddress
import os
import re
import sqlite3
import sys
import time

IP = r'(?:::ffff:)?([0-9a-fA-F:\.]+(?:/[0-9]+)?)'
BLOCK_AFTER = 10
TABLE = ('CREATE TABLE IF NOT EXISTS blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, '
         'matchcount INTEGER, first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)')


def pattern_file(path):
    """Gives the log, the ports and the expressions of a pattern file."""
    settings, expressions = {}, []
    with open(path, encoding='utf-8') as handle:
        for line in (l.strip() for l in handle.read().split('\n')):
            if not line or line.startswith('#'):
                continue
            setting = re.match(r'([a-z]*)\s*=\s*(.*)', line)
            if setting:
                settings.setdefault(setting.group(1), setting.group(2).strip())
            else:
                expressions.append(re.compile(line.replace('__IP__', IP, 1), re.IGNORECASE))
    return settings['file'], settings.get('ports', 'all'), expressions


def key(text):
    """Spells an address as the database has it; None for one that is passed over."""
    try:
        net = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if net.version == 6 and net.prefixlen == 128:
        net = net.supernet(new_prefix=112)
    if not net.is_global:
        return None
    return str(net.network_address) if net.version == 4 and net.prefixlen == 32 else str(net)


def scan(etc):
    """Gives name, ports and number of matches by host."""
    found = {}
    for path in sorted(glob.glob(etc + '/patterns.d/*.patterns')):
        log, ports, expressions = pattern_file(path)
        name = os.path.basename(path)[:-len('.patterns')]
        with open(os.environ['ROOT'] + log, encoding='utf-8', errors='ignore') as handle:
            for line in handle:
                match = next(filter(None, (e.search(line) for e in expressions)), None)
                host = match and key(match.group(1))
                if host:
                    found.setdefault(host, [name, ports, 0])[2] += 1
    return found


def main():
    etc, var = sys.argv[1:]
    now = int(time.time())
    database = sqlite3.connect(var + '/firewall.db')
    database.execute(TABLE)
    for host, (name, ports, count) in scan(etc).items():
        database.execute('INSERT INTO blacklist VALUES (?,?,1,?,?,?,?,0,0,0) ON CONFLICT (ip) DO UPDATE SET '
                         'incidents = incidents + 1, matchcount = matchcount + excluded.matchcount, last = excluded.last',
                         (host, name, count, now, now, ports))
        total, = database.execute('SELECT matchcount FROM blacklist WHERE ip = ?', (host,)).fetchone()
        if total >= BLOCK_AFTER:
            with open(f'{etc}/blacklist.d/{host.replace("/", "|")}.auto', 'w', encoding='utf-8') as handle:
                handle.write(ports.replace(',', '\n') + '\n')
    database.commit()


main()
