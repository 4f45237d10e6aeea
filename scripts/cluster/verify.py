#!/usr/bin/python3
"""Compares the store with what load.py has noted: verify.py CONNECTION FILE..."""

import hashlib
import os
import sys

import psycopg


def main():
    connection = psycopg.connect(sys.argv[1])
    acknowledged, names, cut = {}, [], 0
    for path in sys.argv[2:]:
        name = os.path.basename(path).removesuffix(".tsv")
        names.append(name)
        tries, waits = 0, []
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                _, ident, digest, tried, seconds, error = line.rstrip("\n").split("\t")
                assert ident not in acknowledged, f"{ident} was given twice"
                acknowledged[ident] = digest
                tries += int(tried) > 1
                cut += error == "cut"
                waits.append(float(seconds))
        assert waits, f"{name}: nothing was acknowledged"
        print(f"{name}: {len(waits)} acknowledged, {tries} after another try, longest wait {max(waits):.1f} s")
    stored = {}
    with connection.cursor(name="all") as cursor:
        cursor.execute("SELECT id, raw FROM mm4_messages WHERE spool <> 'rate'")
        for ident, raw in cursor:
            # The trace has five lines; what follows is the client's.
            stored[ident] = hashlib.sha256(bytes(raw).split(b"\r\n", 5)[5]).hexdigest()
    missing = [ident for ident in acknowledged if ident not in stored]
    differing = [ident for ident, digest in acknowledged.items() if stored.get(ident, digest) != digest]
    assert not missing, f"{len(missing)} missing: {missing[:3]}"
    assert not differing, f"{len(differing)} differ: {differing[:3]}"
    prefixes = [f"{name}-%" for name in names]
    transactions, twice, most = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE copies > 1), max(copies) FROM mm4_transactions"
        " WHERE transaction_id LIKE ANY(%s)", (prefixes,)
    ).fetchone()
    assert transactions == len(acknowledged), f"the view shows {transactions} transactions of {len(acknowledged)}"
    # A message that was cut is published, unless its server died at that moment.
    assert twice >= cut / 2, f"{cut} messages were sent again after a cut, and only {twice} came twice"
    print(f"{len(stored)} stored: {len(stored) - len(acknowledged)} without their 250, {cut} of them cut; "
          f"{twice} transactions came more than once (at most {most} times), and the view shows each once")


if __name__ == "__main__":
    main()
