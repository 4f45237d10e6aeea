#!/usr/bin/env python3
"""Kills a mm4d several times under load, and compares its metrics with the spool.

    check_kills.py --dir DIR --kills N --load LOAD.PY -- MM4D OPTION...

The OPTIONs name DIR/metrics/mm4d.prom and a spool; DIR/password is the load's. The load
has CONNECTIONS clients, which send each message until it is acknowledged. Each life of
the server but the last lasts until its metrics file has been written again, and then ends
by SIGKILL; the last ends by SIGTERM. A message's ID has its server's process id.

Of a life that was killed, when its last metrics file was written at T:

- The file counts no message that was not in new/ by T: a message is counted when it and
  its name are synced.
- It counts all that were in new/ a second before T, but for at most one for each
  connection: one that was renamed into new/ and whose sync or count was still to come.
- So the difference between file and spool are the messages of the last interval of 15
  seconds; and the files without an acknowledgement are at most one for each connection.

Of the life that was ended by SIGTERM, messages and bytes are equal.
"""

import argparse
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

CONNECTIONS = 8
DEADLINE = 60


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    spool = pathlib.Path(options.command[options.command.index("--spool") + 1])
    directory = options.dir
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = "127.0.0.1:%d" % free.getsockname()[1]
    command = [*options.command, "--listen", server]
    load = [sys.executable, options.load, "--server", server, "--password-file", directory / "password"]
    load += ["--connections", str(CONNECTIONS), "--pause", "0.03", "--count", "1000000", "--bytes", "3000"]
    load += ["--until", directory / "enough", "--out", directory / "acknowledged.tsv"]
    lives = []
    life = Life(command, directory, spool)
    sender = subprocess.Popen(load)
    try:
        for number in range(options.kills):
            life.wait_for_rewrite()
            # The kill meets another moment of the interval each time.
            time.sleep(0.5 + 3 * number / options.kills)
            life.end(signal.SIGKILL)
            lives.append(life)
            life = Life(command, directory, spool)
        time.sleep(1)
        (directory / "enough").touch()
        if sender.wait(DEADLINE) != 0:
            sys.exit("a message was not acknowledged")
        life.end(signal.SIGTERM)
        lives.append(life)
    finally:
        sender.kill()
        life.process.kill()
    check(lives, directory)


class Life:
    """One process of the server, and what it left."""

    def __init__(self, command, directory, spool):
        self.new = spool / "new"
        self.metrics = directory / "metrics" / "mm4d.prom"
        with open(directory / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        if not self.process.stdout.readline().startswith("listening"):
            sys.exit("the server does not start: " + (directory / "log").read_text()[-500:])
        self.started = self.metrics.stat().st_mtime

    def wait_for_rewrite(self):
        deadline = time.monotonic() + DEADLINE
        while self.metrics.stat().st_mtime == self.started:
            if time.monotonic() > deadline:
                sys.exit("the metrics file is not written again")
            time.sleep(0.05)

    def end(self, how):
        """Ends the process; the files are left to their last state."""
        self.process.send_signal(how)
        status = self.process.wait(DEADLINE)
        if status != (-how if how == signal.SIGKILL else 0):
            sys.exit(f"the server ended with status {status}")
        text = self.metrics.read_text(encoding="utf-8")
        self.written = self.metrics.stat().st_mtime
        self.messages, self.bytes = (
            sum(int(value) for value in re.findall(rf"^mm4d_accepted_{what}_total{{.*}} (\d+)$", text, re.M))
            for what in ("messages", "bytes")
        )
        # ID: the time, the process, a counter and the name.
        mark = f"-{self.process.pid}-"
        with os.scandir(self.new) as entries:
            self.files = {entry.name: entry.stat() for entry in entries if mark in entry.name}

    def published(self, until):
        """Files in new/ by then: a rename sets the time of the change."""
        return sum(1 for status in self.files.values() if status.st_ctime <= until)

    def content(self):
        """Bytes of content: the trace is five lines."""
        return sum(len((self.new / name).read_bytes().split(b"\r\n", 5)[5]) for name in self.files)


def check(lives, directory):
    with open(directory / "acknowledged.tsv", encoding="utf-8") as file:
        acknowledged = [line.split("\t")[1] for line in file]
    # Two processes may have had one id.
    names = {name for life in lives for name in life.files}
    total = sum(len(life.files) for life in lives)
    failures = [f"{total - len(names)} messages have the process id of two lives"] if total != len(names) else []
    missing = [ident for ident in acknowledged if f"{ident}.eml" not in names]
    if missing or len(set(acknowledged)) != len(acknowledged):
        failures.append(f"{len(missing)} acknowledged messages are not in the spool, or have the ID of another")
    for number, life in enumerate(lives[:-1], 1):
        least = life.published(life.written - 1) - CONNECTIONS
        most = life.published(life.written + 0.01)
        line = f"life {number}: {life.messages} counted, {len(life.files)} in the spool at the kill, {most} when it was written"
        print(line)
        if not (0 < life.messages and least <= life.messages <= most):
            failures.append(f"{line}; expected {least} to {most}")
        if life.bytes > life.content():
            failures.append(f"life {number}: {life.bytes} bytes counted, {life.content()} in the spool")
    last = lives[-1]
    line = f"the last life: {last.messages} counted, {len(last.files)} in the spool after SIGTERM"
    print(line)
    if not last.files or (last.messages, last.bytes) != (len(last.files), last.content()):
        failures.append(f"{line}; {last.bytes} bytes counted, {last.content()} in the spool")
    unacknowledged = total - len(acknowledged)
    counted = sum(life.messages for life in lives)
    print(f"all lives: {counted} counted, {total} in the spool, {len(acknowledged)} acknowledged")
    if not 0 <= unacknowledged <= CONNECTIONS * (len(lives) - 1):
        failures.append(f"{unacknowledged} messages in the spool are not acknowledged")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
