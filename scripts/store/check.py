#!/usr/bin/python3
"""What scripts/check-store.sh needs beside a shell.

check.py mails SPOOL NAME COUNT           ordinary messages of 10 KB
check.py hostile SPOOL                    messages of every bad shape
check.py stored CONNECTION DIRECTORY      whether each file there is stored, byte for byte
check.py cut PORT TARGET COUNT            a proxy that cuts COUNT connections after COMMIT
check.py silent PORT                      a server that says nothing
"""

import os
import socket
import sys
import threading


def write(spool, ident, data):
    name = os.fsencode(ident) + b".eml"
    for folder in ("new", "copies"):
        with open(os.path.join(os.fsencode(spool), folder.encode(), name), "wb") as file:
            file.write(data)


def message(ident, head=b"", transaction=None, body=b"text\r\n"):
    """With the trace of mm4d."""
    field = b"" if transaction is None else b"X-Mms-Transaction-ID: " + transaction + b"\r\n"
    return (
        b"Return-Path: <+1@x.example>\r\nX-Envelope-To: <+2@y.example>\r\nX-MM4-System-ID: demo\r\n"
        b"Received: from x ([192.0.2.1]) by y (mm4d) with ESMTPA\r\n  id " + os.fsencode(ident)
        + b"; Sat, 21 Nov 2026 20:05:52 +0000\r\nX-Mms-Message-Type: MM4_forward.REQ\r\n"
        + field + head + b"\r\n" + body
    )


def mails(spool, name, count):
    for number in range(int(count)):
        ident = f"20260101T000000.{number:06}Z-1-000001@{name}"
        write(spool, ident, message(ident, transaction=b"%s-%d" % (name.encode(), number), body=b"0123456\r\n" * 1100))


# Name, header, Transaction-ID.
HOSTILE = [
    ("nul", b"Subject: a\0b\r\n", b"a\0b"),
    ("bytes", b"Subject: \xff\xfe\r\n", b"\xff"),
    ("bytes-too", b"Subject: \xff\xfe\r\n", b"\xfe"),
    ("surrogate", b"Subject: =?utf-7?q?+2AA-?=\r\n", b"surrogate"),
    ("surrogate-16", b"Subject: =?utf-16?b?2AA=?=\r\n", b"=?utf-16?b?2AA=?="),
    ("codec", b"Subject: =?unicode_escape?q?=5CN=7Bx=7D?= =?rot13?q?a?= =?punycode?q?" + b"a" * 1000 + b"?=\r\n", b"codec"),
    # Too long for a B-tree, and not to be compressed.
    ("long", b"X-Mms-Message-ID: " + os.urandom(4000).hex().encode() + b"\r\n", os.urandom(4000).hex().encode()),
    ("forged", b"X-Envelope-To: <+666@z.example>\r\nX-MM4-System-ID: other\r\nReturn-Path: <>\r\n", b"forged"),
    ("many", b"".join(b"X-Mms-%d: x\r\n" % number for number in range(9000)), b"many"),
    ("none-1", b"", None), ("none-2", b"", None), ("empty-1", b"", b""), ("empty-2", b"", b'""'),
    ("2026", b"", b"date"), ("-rf", b"", b"dash"), ("a:2,b", b"", b"colon"), ("new\nline", b"", b"newline"),
    ("caf\udce9", b"", b"name"), ("20269999T999999.000000Z-1-1@a", b"", b"no-date"),
]


def hostile(spool):
    for ident, head, transaction in HOSTILE:
        write(spool, ident, message(ident, head, transaction))
    write(spool, "zero", b"")
    write(spool, "noise", os.urandom(10_000))
    write(spool, "large", message("large", b"Subject: large\r\n", b"large", b"0123456\r\n" * 5_500_000))
    # What is no message is left alone.
    os.mkdir(f"{spool}/new/directory.eml")
    os.mkfifo(f"{spool}/new/pipe.eml")
    os.symlink("/etc/passwd", f"{spool}/new/link.eml")


def stored(connection, directory):
    import psycopg  # pylint: disable=import-outside-toplevel # the system's python3 has it

    with psycopg.connect(connection) as database:
        for entry in os.scandir(directory):
            with open(entry, "rb") as file:
                data = file.read()
            (count,) = database.execute("SELECT count(*) FROM mm4_messages WHERE raw = %s", (data,)).fetchone()
            assert count == 1, f"{entry.name!r} is stored {count} times"


def pump(source, target, cut):
    """Until COMMIT was passed on, if this connection is to be cut."""
    while data := source.recv(65536):
        target.sendall(data)
        if cut and b"COMMIT\0" in data:
            break
    for one in (source, target):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def cut(port, target, count):
    left = int(count)
    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            client, _ = server.accept()
            database = socket.create_connection(("127.0.0.1", int(target)))
            threading.Thread(target=pump, args=(client, database, left > 0), daemon=True).start()
            threading.Thread(target=pump, args=(database, client, False), daemon=True).start()
            left -= 1


def silent(port):
    clients = []
    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            clients.append(server.accept())


if __name__ == "__main__":
    {"mails": mails, "hostile": hostile, "stored": stored, "cut": cut, "silent": silent}[sys.argv[1]](*sys.argv[2:])
