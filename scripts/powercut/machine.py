"""The virtual machine: an initramfs around Debian's kernel, and qemu.

The initramfs holds busybox, the kernel modules, mm4d with its libraries, an
accounts file and guest-init.sh. It is not compressed: an emulated processor
takes longer to unpack it than to read it.
"""

import asyncio
import ctypes
import lzma
import os
import re
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# What the guest needs, beyond what is built into the kernel.
MODULES = ["crc32c_generic", "virtio_pci", "virtio_blk", "virtio_net", "ext4", "xfs", "btrfs"]
PR_SET_PDEATHSIG = 1


class MachineError(Exception):
    """The machine did not do what it is asked for; the text says what."""


# ---------------------------------------------------------------- initramfs


def build_initramfs(path, modules, busybox, accounts, mm4d, no_sync):
    """`modules` is the directory lib/modules/VERSION of a kernel package."""
    archive = Cpio(path)
    for directory in ("bin", "dev", "lib", "lib64", "m", "modules", "proc", "sys", "t"):
        archive.directory(directory)
    archive.file("init", read(os.path.join(HERE, "guest-init.sh")), 0o755)
    archive.file("accounts", read(accounts), 0o600)
    archive.file("bin/busybox", read(busybox), 0o755)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    libraries = set()
    for name, program in (("mm4d", mm4d), ("no_sync", no_sync)):
        archive.file(f"bin/{name}", read(program), 0o755)
        libraries |= libraries_of(program)
    for library in sorted(libraries):
        # The loader is named by its path, all others are found in /lib.
        where = "lib64" if os.path.basename(library).startswith("ld-linux") else "lib"
        archive.file(f"{where}/{os.path.basename(library)}", read(library), 0o755)
    for number, (name, data) in enumerate(load_order(modules)):
        archive.file(f"modules/{number:02}-{name}.ko", data, 0o644)
    archive.end()


def libraries_of(program):
    """Files that the dynamic loader takes for `program`; none if it is static."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    return set(re.findall(r"(/\S+) \(0x", listed.stdout))


def load_order(root):
    """The modules as (name, bytes), each after those that it depends on."""
    files = {}
    for directory, _, names in os.walk(os.path.join(root, "kernel")):
        for name in names:
            stem, dot, suffix = name.partition(".ko")
            if dot and suffix in ("", ".xz"):
                files[stem.replace("-", "_")] = os.path.join(directory, name)
    with open(os.path.join(root, "modules.builtin"), encoding="ascii") as listed:
        builtin = {os.path.basename(line.strip())[:-3].replace("-", "_") for line in listed}
    order = []
    done = set()

    def add(name):
        if name in done or name in builtin:
            return
        done.add(name)
        if name not in files:
            raise MachineError(f"the kernel package lacks the module {name}")
        data = read(files[name])
        if files[name].endswith(".xz"):
            data = lzma.decompress(data)
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in (depends.group(1).decode() if depends else "").split(","):
            if other:
                add(other.replace("-", "_"))
        order.append((name, data))

    for name in MODULES:
        add(name)
    return order


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Cpio:
    """An archive in the form "newc", which the kernel unpacks."""

    def __init__(self, path):
        self.file_object = open(path, "wb")
        self.inode = 0

    def directory(self, name):
        self._entry(name, 0o040755, b"")

    def file(self, name, data, mode):
        self._entry(name, 0o100000 | mode, data)

    def link(self, name, target):
        self._entry(name, 0o120777, target.encode())

    def end(self):
        self._entry("TRAILER!!!", 0, b"")
        self.file_object.close()

    def _entry(self, name, mode, data):
        self.inode += 1
        name = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name, data):
            self.file_object.write(part + bytes(-len(part) % 4))


# ---------------------------------------------------------------- qemu


class Machine:
    """One run of qemu. `disks` are (serial, block device options) pairs."""

    def __init__(self, directory, kernel, initramfs, arguments, disks, port=None, memory=512):
        self.console = os.path.join(directory, "console")
        command = [
            "qemu-system-x86_64", "-M", "pc,accel=tcg", "-m", str(memory), "-smp", "1",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", f"file:{self.console}", "-kernel", kernel, "-initrd", initramfs,
            # A kernel that panics ends the machine.
            "-append", f"console=ttyS0 loglevel=3 panic=-1 {arguments}",
        ]  # fmt: skip
        if port is not None:
            command += [
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:2525",
                "-device", "virtio-net-pci,netdev=net,romfile=",
            ]  # fmt: skip
        for serial, options in disks:
            command += [
                "-blockdev", f"node-name={serial},{options}",
                "-device", f"virtio-blk-pci,drive={serial},serial={serial},write-cache=on",
            ]  # fmt: skip
        self.command = command
        self.process = None

    async def start(self):
        open(self.console, "w").close()
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
        )

    async def wait_for(self, text, seconds):
        """Waits until the console says `text`; returns the rest of its line."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(re.escape(text) + "(.*)", self.output())
            if found:
                return found.group(1).strip()
            if self.process.returncode is not None:
                raise MachineError(f"the machine ended before '{text}':\n{self.tail()}")
            if time.monotonic() > deadline:
                raise MachineError(f"no '{text}' within {seconds} s:\n{self.tail()}")
            await asyncio.sleep(0.1)

    async def wait(self, seconds):
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except asyncio.TimeoutError:
            raise MachineError(f"the machine ran longer than {seconds} s:\n{self.tail()}") from None

    async def kill(self):
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def output(self):
        with open(self.console, encoding="utf-8", errors="replace") as console:
            return console.read()

    def tail(self):
        return "\n".join(self.output().splitlines()[-25:])


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
