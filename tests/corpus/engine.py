"""Applies a pattern file to log lines the way nftfw does, in its language.

Usage: engine.py [--newlines] PATTERN-FILE < LINES

For every line of the input one line of output: "INDEX ADDRESS" for each
pattern that matches, separated by tabs. nftfw opens a log as text, so a
carriage return ends a line for it. With --newlines that is so here too, and
the output has what the pieces of a line give together.
"""
import re
import sys

IP = r'(?:::ffff:)?([0-9a-fA-F:\.]+(?:/[0-9]+)?)'


def read_patterns(path):
    """nftfw's reading of a pattern file: case is ignored, one group allowed."""
    patterns = []
    with open(path, encoding='utf-8') as handle:
        for line in handle.read().split('\n'):
            line = line.strip()
            if line == '' or line[0] == '#':
                continue
            if re.match(r'^([a-z]*)\s*=\s*(.*)(:?#.*)?', line):
                continue
            if '__IP__' not in line:
                continue
            compiled = re.compile(line.replace('__IP__', IP, 1), re.IGNORECASE)
            if compiled.groups == 1:
                patterns.append(compiled)
    return patterns


def main():
    newlines = '--newlines' in sys.argv
    patterns = read_patterns(sys.argv[-1])
    out = []
    for raw in sys.stdin.buffer:
        line = raw.decode('utf-8', 'ignore')  # as nftfw opens its logs
        pieces = [line]
        if newlines:
            pieces = [p + '\n' for p in line.rstrip('\n').split('\r')]
        hits = []
        for piece in pieces:
            for index, pattern in enumerate(patterns):
                match = pattern.search(piece)
                if match:
                    hits.append(f'{index} {match.group(1)}')
        out.append('\t'.join(hits))
    sys.stdout.write('\n'.join(out) + '\n')


main()
