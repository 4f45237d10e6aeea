"""Starts mm4d and prints its figures, one `name number` a line.

    measure.py MM4D DIR        MM4_PASSWORD is the password of the account demo

DIR holds accounts and certs/. `rest` and, with 1,000 idle connections that have
logged in, `plain` and `tls` are KiB of private memory; `start` is the time
from exec to the last line `listening`, in microseconds: the least of 21, since
other work on the machine can only add to it. Every wait ends after 30 seconds.
"""

import base64
import os
import pathlib
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time

CONNECTIONS = 1000
STARTS = 21
DEADLINE = 30


def start(program, directory):
    """The process, its plain and its TLS port, and the seconds that it took."""
    begin = time.monotonic()
    server = subprocess.Popen(
        [
            program, "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
            "--hostname", "localhost", "--accounts", directory / "accounts",
            "--cert", directory / "certs/server.pem", "--key", directory / "certs/server.key",
            "--spool", directory / "spool", "--max-connections", "1200",
            "--max-connections-per-ip", "1200",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    signal.alarm(DEADLINE)
    ports = [int(server.stdout.readline().rsplit(b":", 1)[1]) for _ in range(2)]
    seconds = time.monotonic() - begin
    signal.alarm(0)
    return server, ports, seconds


def stop(server):
    server.terminate()
    if server.wait(DEADLINE) != 0:
        sys.exit(f"mm4d ended with status {server.returncode}")


def private_memory(server):
    """KiB, the smallest of a second: buffers of a start are given back."""
    smallest = None
    for _ in range(10):
        lines = pathlib.Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines()
        total = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        smallest = total if smallest is None else min(smallest, total)
        time.sleep(0.1)
    return smallest


def log_in(port, context):
    client = socket.create_connection(("127.0.0.1", port), DEADLINE)
    if context:
        client = context.wrap_socket(client, server_hostname="localhost")
    secret = base64.b64encode(b"\0demo\0" + os.environ["MM4_PASSWORD"].encode()).decode()
    expect(client, b"220 ")
    client.sendall(b"EHLO client.example.net\r\n")
    expect(client, b"250 ")
    client.sendall(f"AUTH PLAIN {secret}\r\n".encode())
    expect(client, b"235 ")
    return client


def expect(client, code):
    reply = b""
    while not reply.endswith(b"\r\n") or not reply.splitlines()[-1].startswith(code):
        piece = client.recv(4096)
        if not piece or b"\r\n5" in reply or reply.startswith((b"4", b"5")):
            sys.exit(f"expected {code}, received {reply + piece}")
        reply += piece


def with_connections(program, directory, tls):
    context = ssl.create_default_context(cafile=directory / "certs/ca.pem") if tls else None
    server, ports, _ = start(program, directory)
    clients = [log_in(ports[tls], context) for _ in range(CONNECTIONS)]
    memory = private_memory(server)
    for client in clients:
        client.close()
    stop(server)
    return memory


def main():
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server, _, _ = start(program, directory)
    print("rest", private_memory(server))
    stop(server)
    for name, tls in (("plain", False), ("tls", True)):
        print(name, with_connections(program, directory, tls))
    least = float("inf")
    for _ in range(STARTS):
        server, _, seconds = start(program, directory)
        least = min(least, seconds)
        stop(server)
    print("start", round(least * 1e6))


main()
