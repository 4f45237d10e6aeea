#!/usr/bin/env bash
# Measures what can be measured of a file system before it holds a spool.
#
#   scripts/check-spool-fs.sh [DIR]
#
# DIR is where the spool will be, default the system's directory for temporary files: then
# it is only a test of this script. Makes a directory in DIR and removes it. Reports:
#
#   the type       against those that are known to keep or to break the promise of a 250
#   sync           how long fdatasync of a file and fsync of a directory take
#   directory sync whether an fsync of a directory with a new name reaches the device, by
#                  the writes that the kernel counts for it
#   rename         whether a rename that must not replace a file is supported (renameat2)
#   flock          whether a second process is kept out, also by a lock opened for writing
#
# It cannot find out whether the device lies about a sync. Needs python3. Exit status: 0
# if nothing speaks against the file system.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local directory=${1:-${TMPDIR:-/tmp}}
    [[ -d $directory && -w $directory ]] || die "$directory is not a directory that can be written; give another"
    ensure python3 || { skip "check-spool-fs: python3 is missing" && tally && return; }
    TEMP=$(mktemp -d "$directory/mm4d-check.XXXXXXXX")
    trap clean_up EXIT
    check_type "$(stat -f -c %T "$TEMP")"
    run_measurements
    tally
}

check_type() {
    case $1 in
    ext2/ext3) check_journal ;;
    xfs | btrfs | zfs | f2fs) pass "$1: keeps the promise on a local or replicated block device" ;;
    nfs*) pass "$1: keeps the promise if the server syncs what it acknowledges" ;;
    tmpfs | ramfs) skip "$1: nothing survives a crash; for tests only" ;;
    overlayfs | fuseblk | cifs | smb* | glusterfs) fail "$1: a sync of a directory may do nothing; use another file system" ;;
    *) skip "$1: not known; see src/spool/README.md" ;;
    esac
}

# stat has one name for ext2, ext3 and ext4.
check_journal() {
    local type device
    type=$(findmnt -n -o FSTYPE -T "$TEMP" 2>/dev/null || true)
    # The kernel's name: what findmnt calls the source may be /dev/root, or have a directory.
    device=$(basename "$(readlink -f "/sys/dev/block/$(findmnt -n -o MAJ:MIN -T "$TEMP" | tr -d ' ')" || true)")
    if [[ $type == overlay ]]; then
        check_type overlayfs
    elif [[ -e /proc/fs/jbd2 ]] && compgen -G "/proc/fs/jbd2/$device-*" >/dev/null; then
        pass "$type on $device: has a journal"
    else
        fail "$type on $device: no journal is in use; make one with tune2fs -j"
    fi
}

run_measurements() {
    local word rest
    while read -r word rest; do
        case $word in
        ok) pass "$rest" ;;
        bad) fail "$rest" ;;
        unknown) skip "$rest" ;;
        esac
    done < <(python3 - "$TEMP" 2>&1 <<'PYTHON' || say "bad the measurements ended early"
import ctypes, errno, fcntl, os, statistics, subprocess, sys, time

base = sys.argv[1]
ROUNDS = 50


def sectors():
    """Sectors that were written to the device of the directory, or None."""
    device = os.stat(base).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="ascii") as file:
            return int(file.read().split()[6])
    except (OSError, IndexError):
        return None


def milliseconds(times):
    ordered = sorted(times)
    return f"median {statistics.median(ordered) * 1e3:.2f} ms, 99 % {ordered[int(len(ordered) * 0.99)] * 1e3:.2f} ms"


files, directories, written = [], [], []
for folder in ("tmp", "new"):
    os.mkdir(f"{base}/{folder}")
new = os.open(f"{base}/new", os.O_RDONLY | os.O_DIRECTORY)
for number in range(ROUNDS):
    file = os.open(f"{base}/tmp/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(file, b"x" * 10_000)
    begin = time.perf_counter()
    os.fdatasync(file)
    files.append(time.perf_counter() - begin)
    os.close(file)
    os.rename(f"{base}/tmp/{number}", f"{base}/new/{number}")
    before = sectors()
    begin = time.perf_counter()
    os.fsync(new)
    directories.append(time.perf_counter() - begin)
    if before is not None:
        written.append(sectors() - before)
print("ok fdatasync of a file of 10 KB:", milliseconds(files))
print("ok fsync of its directory:", milliseconds(directories))
if not written:
    print("unknown directory sync: the kernel counts no writes for this file system (no block device of its own)")
elif sum(count > 0 for count in written) == ROUNDS:
    print(f"ok directory sync: each of {ROUNDS} wrote to the device, {statistics.median(written) * 512:.0f} bytes")
else:
    idle = sum(count == 0 for count in written)
    print(f"bad directory sync: {idle} of {ROUNDS} wrote nothing to the device; a 250 would not survive a power cut")

libc = ctypes.CDLL(None, use_errno=True)
for name in ("one", "two"):
    open(f"{base}/{name}", "wb").close()
try:
    result = libc.renameat2(-100, f"{base}/one".encode(), -100, f"{base}/two".encode(), 1)
    code = ctypes.get_errno()
    if result == 0:
        print("bad rename: a file was replaced although that was forbidden")
    elif code == errno.EEXIST:
        print("ok rename without replacing: supported")
    else:
        print(f"unknown rename without replacing: {os.strerror(code)}; mm4d uses link and unlink instead")
except AttributeError:
    print("unknown rename without replacing: this C library has no renameat2")

lock = open(f"{base}/lock", "r+b" if os.path.exists(f"{base}/lock") else "w+b")
fcntl.flock(lock, fcntl.LOCK_EX)
other = "import fcntl, sys\nfile = open(sys.argv[1], 'r+b')\ntry:\n    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError:\n    sys.exit(7)"
status = subprocess.run([sys.executable, "-c", other, f"{base}/lock"], check=False, timeout=30).returncode
print("ok flock: a second process is kept out" if status == 7 else "bad flock: a second process got the lock too")
PYTHON
    )
}

main "$@"
