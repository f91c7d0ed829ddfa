"""Writes a journal with checksums to disk and to memory, and says what is acknowledged.

Each entry is appended to /root/journal and synced, then added to /dev/shm/journal, then its number is
written to /dev/shm/acknowledged. `journal.py check` reads all three and says what is wrong.
"""

import hashlib
import os
import sys
import time

DISK, MEMORY, ACKNOWLEDGED = "/root/journal", "/dev/shm/journal", "/dev/shm/acknowledged"


def entry(number, before):
    text = "%d %s" % (number, before)
    return "%d %s\n" % (number, hashlib.sha256(text.encode()).hexdigest())


def read(path):
    """The number of the last whole entry, and its digest; every one is checked."""
    number, before = 0, ""
    try:
        lines = open(path).read().splitlines(keepends=True)
    except FileNotFoundError:
        return number, before
    for line in lines:
        if not line.endswith("\n"):
            break  # Cut off while it was written: never acknowledged.
        if line != entry(number + 1, before):
            raise SystemExit("%s: entry %d is wrong: %r" % (path, number + 1, line))
        number, before = number + 1, line.split()[1]
    return number, before


def write():
    number, before = read(DISK)
    whole = "".join(open(DISK).readlines()) if os.path.exists(DISK) else ""
    cut = whole.rfind("\n") + 1
    disk = os.open(DISK, os.O_RDWR | os.O_CREAT)
    os.ftruncate(disk, cut)
    os.lseek(disk, 0, os.SEEK_END)
    if not os.path.exists(MEMORY):
        with open(MEMORY, "w") as memory:
            memory.write(whole[:cut])
    memory = os.open(MEMORY, os.O_WRONLY | os.O_APPEND)
    while True:
        number += 1
        line = entry(number, before)
        before = line.split()[1]
        os.write(disk, line.encode())
        os.fsync(disk)
        os.write(memory, line.encode())
        with open(ACKNOWLEDGED + ".new", "w") as acknowledged:
            acknowledged.write("%d" % number)
        os.rename(ACKNOWLEDGED + ".new", ACKNOWLEDGED)
        # All of it is read at each check, by an emulated processor.
        time.sleep(0.1)


def check():
    try:
        acknowledged = int(open(ACKNOWLEDGED).read())
    except FileNotFoundError:
        acknowledged = 0
    # In the order opposite to that of writing, for the writer goes on meanwhile.
    memory, _ = read(MEMORY)
    disk, _ = read(DISK)
    if not acknowledged <= memory <= disk:
        raise SystemExit("acknowledged %d, on disk %d, in memory %d" % (acknowledged, disk, memory))
    print(acknowledged, disk)


check() if sys.argv[1:] == ["check"] else write()
