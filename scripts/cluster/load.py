#!/usr/bin/env python3
"""Sends messages to a mm4d, and tries each again until it is acknowledged.

A bounded load for the checks of scripts/: COUNT messages over CONNECTIONS clients at a
time, PER_CONNECTION on each connection. A message that is not acknowledged is sent again
on another connection until RETRY_FOR seconds have passed. The file OUT gets a line for
each acknowledged message: number, id, SHA-256 of the content, tries, seconds from the
first try to the 250, and the last error. Exits with 1 if a message was not acknowledged.
With --cut N every Nth message is sent to its last dot, the connection closed before the
reply, and the message sent again: as when the network fails. Its last error is "cut".
"""

import argparse
import hashlib
import os
import re
import smtplib
import ssl
import sys
import threading
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--ca", help="use TLS, and verify the server with this CA")
    parser.add_argument("--user", default="demo")
    parser.add_argument("--password-file", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--per-connection", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=10_000)
    parser.add_argument("--pause", type=float, default=0, help="seconds after each message")
    parser.add_argument("--cut", type=int, default=0, metavar="N", help="close before the reply to each Nth message")
    parser.add_argument("--until", metavar="FILE", help="begin no message once this file exists")
    parser.add_argument("--retry-for", type=float, default=60)
    parser.add_argument("--name", default="load", help="in the Transaction-IDs")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def connect(options, password):
    host, port = options.server.rsplit(":", 1)
    if options.ca:
        context = ssl.create_default_context(cafile=options.ca)
        # The certificates of these checks name localhost, whatever the address is.
        context.check_hostname = False
        client = smtplib.SMTP_SSL(host, int(port), "client.example.net", timeout=30, context=context)
    else:
        client = smtplib.SMTP(host, int(port), "client.example.net", timeout=30)
    client.login(options.user, password)
    return client


def content(options, number):
    head = (
        "X-Mms-3GPP-MMS-Version: 5.5.0\r\nX-Mms-Message-Type: MM4_forward.REQ\r\n"
        f'X-Mms-Transaction-ID: "{options.name}-{number}"\r\n'
        f'X-Mms-Message-ID: "{options.name}-{number}@client.example.net"\r\n'
        "From: +972500000001/TYPE=PLMN\r\nTo: +972500000002/TYPE=PLMN\r\n"
        "Content-Type: text/plain\r\n\r\n"
    )
    line = f"{number} " + "0123456789" * 7 + "\r\n"
    return (head + line * max(1, (options.bytes - len(head)) // len(line))).encode()


def send(client, mail):
    for code, reply in (
        client.mail("+972500000001/TYPE=PLMN@client.example.net"),
        client.rcpt("+972500000002/TYPE=PLMN@mm4d.example.net"),
        client.data(mail),
    ):
        if code != 250:
            raise smtplib.SMTPResponseException(code, reply)
    return re.search(rb"queued as <(.+)>", reply).group(1).decode()


class Cut(Exception):
    """The message was sent whole, and the reply not awaited."""

    def __str__(self):
        return "cut"


def send_and_cut(client, mail):
    client.mail("+972500000001/TYPE=PLMN@client.example.net")
    client.rcpt("+972500000002/TYPE=PLMN@mm4d.example.net")
    code, reply = client.docmd("DATA")
    if code != 354:
        raise smtplib.SMTPResponseException(code, reply)
    # No line of it begins with a dot.
    client.send(mail + b".\r\n")
    client.close()
    raise Cut


class Load:
    def __init__(self, options):
        self.options = options
        with open(options.password_file, encoding="utf-8") as file:
            self.password = file.read().strip()
        self.lock = threading.Lock()
        self.numbers = iter(range(options.count))
        self.missing = 0
        self.out = open(options.out, "w", encoding="utf-8")

    def next_number(self):
        if self.options.until and os.path.exists(self.options.until):
            return None
        with self.lock:
            return next(self.numbers, None)

    def client(self):
        client, used = None, 0
        while (number := self.next_number()) is not None:
            mail = content(self.options, number)
            begin, tries, error, ident = time.monotonic(), 0, "", None
            while ident is None and time.monotonic() - begin < self.options.retry_for:
                tries += 1
                try:
                    if client is None:
                        client, used = connect(self.options, self.password), 0
                    if self.options.cut and tries == 1 and number % self.options.cut == 0:
                        send_and_cut(client, mail)
                    ident = send(client, mail)
                    used += 1
                except Cut as problem:
                    error, client = str(problem), None
                except (smtplib.SMTPException, OSError) as problem:
                    error = " ".join(str(problem).split()) or type(problem).__name__
                    client = self.close(client)
                    time.sleep(0.1)
            if client and used >= self.options.per_connection:
                client = self.close(client)
            self.record(number, ident, mail, tries, time.monotonic() - begin, error)
            time.sleep(self.options.pause)
        self.close(client)

    @staticmethod
    def close(client):
        if client:
            try:
                client.quit()
            except (smtplib.SMTPException, OSError):
                client.close()

    def record(self, number, ident, mail, tries, seconds, error):
        with self.lock:
            if ident is None:
                self.missing += 1
                print(f"message {number} was not acknowledged: {error}", file=sys.stderr)
                return
            digest = hashlib.sha256(mail).hexdigest()
            print(number, ident, digest, tries, f"{seconds:.3f}", error, sep="\t", file=self.out, flush=True)

    def run(self):
        clients = [threading.Thread(target=self.client) for _ in range(self.options.connections)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.out.close()
        return 1 if self.missing else 0


if __name__ == "__main__":
    sys.exit(Load(arguments()).run())
