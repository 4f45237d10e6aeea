"""Cuts the power of a machine that receives mail, and looks at what is left.

Started by scripts/check-powercut.sh, which says what this does and needs.

For each kind of disk: a machine boots from an empty file system, mails are sent
to it, and at random moments `Disk.cut` makes an image of what would be left if
the power failed right then, together with the mails whose 250 the client had
read before. The last image of each run is made after qemu was killed. Another
machine then mounts every image and hands out new/, before and after a server
was started on it.

An image is made while nothing else in this process runs, so a mail counts as
acknowledged only if its 250 was read before the cut.
"""

import argparse
import asyncio
import collections
import dataclasses
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

import disk
import machine
import mail

DISK_BYTES = 512 << 20
RESULTS_BYTES = 2 << 30
# Cuts of one load, and so disks of one inspection; a machine has some 30 slots.
CUTS_PER_RUN = 10
CONNECTIONS = 12
# The cache of a disk that lies: what a small drive holds back.
LYING_CACHE = 4 << 20
# An idle machine needs a tenth of these.
BOOT_SECONDS = 240
EVENT_SECONDS = 120
INSPECT_SECONDS = 900
# How long replies are read after the machine was killed.
DRAIN_SECONDS = 3

NO_JOURNAL = "ext4-no-journal"
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    NO_JOURNAL: ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
FILE_SYSTEMS = ["ext4", "xfs", "btrfs"]


@dataclasses.dataclass
class Case:
    """A file system, and what is wrong with its disk or its server."""

    name: str
    file_system: str
    cuts: int
    lying: bool = False
    wrapper: str = ""
    # Must show losses.
    control: bool = False
    # Reported, neither passed nor failed.
    informative: bool = False


@dataclasses.dataclass
class Cut:
    image: str
    moment: str
    acknowledged: list
    sent: set


class Totals(collections.Counter):
    """What was counted for a case, by name."""

    def harm(self):
        return self["lost"] + self["twice"] + self["partial"] + self["removed"]


async def run_case(case, options, rng):
    totals = Totals()
    while totals["cuts"] < case.cuts:
        with tempfile.TemporaryDirectory(dir=options.work) as directory:
            count = min(CUTS_PER_RUN, case.cuts - totals["cuts"])
            cuts = await load_run(case, count, directory, options, rng, totals)
            if case.file_system == NO_JOURNAL:
                for cut in cuts:
                    repair(cut.image)
            await inspect(case, cuts, directory, options, totals)
    return totals


def kernel_name(case):
    return "ext4" if case.file_system == NO_JOURNAL else case.file_system


# ---------------------------------------------------------------- the load


async def load_run(case, count, directory, options, rng, totals):
    """`count` cuts of one machine; the last one kills it."""
    image = os.path.join(directory, "current")
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run([*MKFS[case.file_system], image], check=True, stdout=subprocess.DEVNULL)
    virtual = disk.Disk(
        image,
        os.path.join(directory, "durable"),
        lying=case.lying,
        cache_limit=LYING_CACHE if case.lying else disk.CACHE_LIMIT,
    )
    socket = os.path.join(directory, "nbd")
    server, client_left = await disk.serve(virtual, socket)
    port = machine.free_port()
    guest = machine.Machine(
        directory,
        options.kernel,
        options.initramfs,
        f"mm4.job=serve mm4.fs={kernel_name(case)} mm4.wrapper={case.wrapper}",
        [("cut0", f"driver=nbd,server.type=unix,server.path={socket}")],
        port,
    )
    load = mail.Load(port, options.password, rng.getrandbits(64))
    # A server that does not sync makes the kernel flush only every few seconds.
    events = ["ack"] if case.wrapper else ["write", "flush", "ack"]
    clients = None
    cuts = []

    def cut(moment):
        path = os.path.join(directory, f"cut{len(cuts)}")
        totals.update(virtual.cut(path, rng))
        cuts.append(Cut(path, moment, list(load.acknowledged), set(load.sent)))

    try:
        await guest.start()
        cache = await guest.wait_for("mm4: cache", BOOT_SECONDS)
        if cache != "write back":
            raise machine.MachineError(f"the guest sees a disk with the cache '{cache}'")
        await guest.wait_for("listening plain", BOOT_SECONDS)
        clients = asyncio.create_task(load.run(CONNECTIONS))
        while len(cuts) < count - 1:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            event, number = rng.choice(events), rng.randrange(1, 30)
            await at_event(event, number, virtual, load, clients, lambda: cut(f"{number}. {event}"))
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        fail_if_ended(clients)
        load.stop()
        await guest.kill()
        await asyncio.wait_for(client_left.wait(), EVENT_SECONDS)
        # What the machine had sent is read. Not every client sees that its
        # connection is dead; those are given up.
        await asyncio.wait({clients}, timeout=DRAIN_SECONDS)
        cut("kill")
        totals["kills"] += 1
    except (machine.MachineError, mail.LoadError, asyncio.TimeoutError) as error:
        raise machine.MachineError(
            f"{error!r} after {len(load.acknowledged)} mails:\n{guest.tail()}"
        ) from error
    finally:
        load.stop()
        if clients is not None:
            clients.cancel()
            await asyncio.gather(clients, return_exceptions=True)
        await guest.kill()
        server.close()
        await server.wait_closed()
        virtual.close()
    totals["cuts"] += len(cuts)
    totals["acknowledged"] += len(load.acknowledged)
    return cuts


async def at_event(event, number, virtual, load, clients, action):
    """Calls `action` at the `number`th event of that kind from now on."""
    happened = asyncio.Event()
    left = number

    def observe(kind):
        nonlocal left
        if kind == event and left > 0:
            left -= 1
            if left == 0:
                action()
                happened.set()

    virtual.observer = load.observer = observe
    waiter = asyncio.create_task(happened.wait())
    try:
        await asyncio.wait(
            [waiter, clients], timeout=EVENT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not happened.is_set():
            fail_if_ended(clients)
            raise machine.MachineError(f"no {number}. {event} within {EVENT_SECONDS} s")
    finally:
        waiter.cancel()
        virtual.observer = load.observer = lambda kind: None


def fail_if_ended(clients):
    if clients.done():
        clients.result()
        raise mail.LoadError("the load ended before the last cut")


# ---------------------------------------------------------------- what is left


def repair(image):
    """What an administrator does after a power cut of a disk without a journal."""
    status = subprocess.run(
        ["e2fsck", "-f", "-y", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode
    if status > 2:
        raise machine.MachineError(f"e2fsck cannot repair {image}: status {status}")


async def inspect(case, cuts, directory, options, totals):
    """Boots a machine with all the images and judges each."""
    results = os.path.join(directory, "results")
    with open(results, "wb") as file:
        file.truncate(RESULTS_BYTES)
    disks = [(f"cut{number}", cut.image) for number, cut in enumerate(cuts)]
    disks.append(("results", results))
    guest = machine.Machine(
        directory,
        options.kernel,
        options.initramfs,
        f"mm4.job=inspect mm4.fs={kernel_name(case)} mm4.count={len(cuts)}",
        [
            (serial, f"driver=raw,cache.no-flush=on,file.driver=file,file.filename={path}")
            for serial, path in disks
        ],
        memory=768,
    )
    try:
        await guest.start()
        await guest.wait_for("mm4: booted", BOOT_SECONDS)
        await guest.wait(INSPECT_SECONDS)
        output = guest.output()
        if "mm4: cannot unmount" in output or "mm4: inspected" not in output:
            raise machine.MachineError(f"the inspection did not end:\n{guest.tail()}")
    finally:
        await guest.kill()
    before, after = read_results(results)
    for number, cut in enumerate(cuts):
        complain = Complaints(f"{case.name}, cut {number} at {cut.moment}", case, options)
        if re.search(rf"mm4: unmountable {number}\b", output):
            totals["unmountable"] += 1
            totals["lost"] += len(cut.acknowledged)
            complain(f"cannot be mounted; {len(cut.acknowledged)} acknowledged mails lost")
            continue
        if f"mm4: no server {number}" in output:
            totals["no server"] += 1
            complain("no server could be started on what was left")
        judge(cut, before.get(number, {}), after.get(number, {}), totals, complain)
    if (totals["no server"] or totals["unmountable"]) and not case.control:
        print(guest.tail(), file=sys.stderr)


def read_results(path):
    """For each cut, the contents of new/ before and the sizes of the files after
    a server was started."""
    before, after = {}, {}
    with tarfile.open(path, "r:", ignore_zeros=True) as archive:
        for member in archive:
            if member.name == "end":
                return before, after
            number, _, name = member.name.partition("/")
            if member.isfile():
                content = archive.extractfile(member).read()
                if name == "after":
                    lines = (line.partition(" ") for line in content.decode().splitlines())
                    after[int(number)] = {file: int(size) for size, _, file in lines}
                else:
                    file = name.removeprefix("spool/new/")
                    before.setdefault(int(number), {})[file] = content
    raise machine.MachineError("the results of the inspection are incomplete")


def judge(cut, files, after, totals, complain):
    contents = {}
    copies = collections.Counter()
    for name, data in files.items():
        digest = content_digest(name, data)
        if digest not in cut.sent:
            totals["partial"] += 1
            complain(f"{name} holds {len(data)} bytes that are not a whole mail")
            continue
        contents[name] = digest
        copies[digest] += 1
    for digest, count in copies.items():
        if count > 1:
            totals["twice"] += 1
            complain(f"a mail is there {count} times: {[n for n in contents if contents[n] == digest]}")
    totals["checked"] += len(cut.acknowledged)
    for identifier, digest in cut.acknowledged:
        name = f"{identifier}.eml"
        if name not in files:
            totals["lost"] += 1
            complain(f"{name} was acknowledged and is missing")
        elif name in contents and contents[name] != digest:
            totals["lost"] += 1
            complain(f"{name} holds another mail than the acknowledged one")
    for name, data in files.items():
        if after.get(f"new/{name}") != len(data):
            totals["removed"] += 1
            complain(f"{name} is not there after the start of a server")
    totals["left in tmp"] += sum(1 for name in after if name.startswith("tmp/"))


def content_digest(name, data):
    """The digest of what the client sent, or None without the trace of this id."""
    lines = data.split(b"\r\n", 5)
    identifier = name.removesuffix(".eml").encode()
    if len(lines) < 6 or not lines[4].startswith(b"  id " + identifier + b"; "):
        return None
    return hashlib.sha256(lines[5]).digest()


class Complaints:
    """Prints what is wrong with a cut: some of it, and none for a control."""

    def __init__(self, where, case, options):
        self.where = where
        self.left = options.verbose if not case.control else 0

    def __call__(self, text):
        if self.left > 0:
            print(f"  {self.where}: {text}", file=sys.stderr)
        self.left -= 1


# ---------------------------------------------------------------- the report


def report(case, totals, seconds):
    """One line, and true when the case is as it must be."""
    text = (
        f"{case.name}: {totals['cuts']} cuts ({totals['kills']} by kill), "
        f"{totals['acknowledged']} acknowledged, looked for {totals['checked']} times: "
        f"{totals['lost']} lost, {totals['twice']} twice, {totals['partial']} partial, "
        f"{totals['removed']} removed at start"
    )
    if totals["unmountable"]:
        text += f", {totals['unmountable']} file systems unmountable"
    text += (
        f" (unflushed writes: {totals['kept']} kept, {totals['torn']} torn, "
        f"{totals['dropped']} dropped; {seconds:.0f} s)"
    )
    print(f"{'info   ' if case.informative else verdict(case, totals)} {text}", flush=True)
    return case.informative or verdict(case, totals) == "ok     "


def verdict(case, totals):
    harmed = totals.harm() + totals["no server"] > 0
    # A file system without a single mail checks nothing.
    checked = totals["acknowledged"] > 0
    return "ok     " if checked and harmed == case.control else "FAILED "


def cases(options):
    for name in options.fs:
        yield Case(name, name, options.cuts)
    first = options.fs[0]
    few = min(options.cuts, CUTS_PER_RUN)
    yield Case(
        f"control, {first}, the server's syncs do nothing",
        first,
        few,
        wrapper="/bin/no_sync",
        control=True,
    )
    yield Case(
        f"control, {first}, the disk ignores flushes", first, few, lying=True, control=True
    )
    yield Case("ext4 without a journal, after e2fsck", NO_JOURNAL, few, informative=True)


def main():
    options = arguments()
    with open(options.password_file, encoding="ascii") as file:
        options.password = file.read().strip()
    options.initramfs = os.path.join(options.work, "initramfs")
    machine.build_initramfs(
        options.initramfs,
        options.modules,
        options.busybox,
        options.accounts,
        options.mm4d,
        options.no_sync,
    )
    print(f"seed {options.seed}, {options.cuts} cuts of each file system", flush=True)
    passed = failed = 0
    for case in cases(options):
        if shutil.which(MKFS[case.file_system][0]) is None:
            print(f"FAILED  {case.name}: {MKFS[case.file_system][0]} is missing", flush=True)
            failed += 1
            continue
        # A case is the same whichever others are checked.
        rng = random.Random(f"{options.seed} {case.name}")
        began = time.monotonic()
        try:
            totals = asyncio.run(run_case(case, options, rng))
            good = report(case, totals, time.monotonic() - began)
        except (machine.MachineError, OSError, subprocess.CalledProcessError) as error:
            print(f"FAILED  {case.name}: {error}", flush=True)
            good = False
        if good and not case.informative:
            passed += 1
        elif not good:
            failed += 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("kernel", "modules", "busybox", "accounts", "password-file", "mm4d", "no-sync", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--cuts", type=int, default=30)
    parser.add_argument("--fs", type=lambda text: text.split(","), default=FILE_SYSTEMS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--verbose", type=int, default=5, help="complaints shown for each cut")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
