"""Holds state in all the places a machine has, and says on request whether it is still right.

A request is a line written to /run/witness/ask; the answer, one line of JSON, is then read from
/run/witness/answer. One request at a time.
"""

import array
import fcntl
import json
import mmap
import os
import socket
import termios
import threading
import time
import zlib

WORD = 16
QUEUED = 20_000  # Fits into a socket's receive buffer, so it waits there unread.
HALF_PIPE = 32_768  # Of the 65,536 bytes a pipe takes.
DIR = "/run/witness"


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError("the other end closed the connection")
        data += piece
    return data


def waiting(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def spell(listener):
    """The other process: sends what is to lie unread, then each word backwards."""
    connection = socket.create_connection(listener.getsockname())
    listener.close()
    while True:
        connection.sendall(queue)
        connection.sendall(receive(connection, WORD)[::-1])


class Kept:
    """A file's content, and the same in memory; a line is added at each request."""

    def __init__(self, path, size):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.content = os.urandom(size)
        os.write(self.fd, self.content)

    def check(self, asked, from_disk):
        line = b"%d\n" % asked
        os.pwrite(self.fd, line, len(self.content))
        self.content += line
        if from_disk:
            os.fsync(self.fd)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = os.pread(self.fd, len(self.content) + 1, 0)
        if found != self.content:
            same = len(os.path.commonprefix([found, self.content]))
            raise ValueError(f"{len(found)} of {len(self.content)} bytes, {same} right")


def check_memory():
    if zlib.crc32(memory) != memory_sum:
        raise ValueError("its content has changed")


def check_pipe():
    if waiting(reader) != HALF_PIPE:
        raise ValueError(f"{waiting(reader)} bytes wait in it")
    found = os.read(reader, HALF_PIPE)
    os.write(writer, found)
    if found != in_pipe:
        raise ValueError("its content has changed")


def check_connection():
    if receive(connection, QUEUED) != queue:
        raise ValueError("what lay unread has changed")
    word = os.urandom(WORD)
    connection.sendall(word)
    if receive(connection, WORD) != word[::-1]:
        raise ValueError("the answer is not that to what was sent")
    while waiting(connection.fileno()) < QUEUED:
        time.sleep(0.005)


def check_other_process():
    if os.waitpid(other, os.WNOHANG) != (0, 0):
        raise ValueError("it has ended")


def count():
    global ticks
    while True:
        time.sleep(0.01)
        ticks += 1


queue = os.urandom(QUEUED)
listener = socket.create_server(("127.0.0.1", 0))
other = os.fork()
if other == 0:
    spell(listener)
connection, _ = listener.accept()
listener.close()
connection.settimeout(20)

memory = mmap.mmap(-1, 4 << 20)
memory.write(os.urandom(len(memory)))
memory_sum = zlib.crc32(memory)
in_pipe = os.urandom(HALF_PIPE)
reader, writer = os.pipe()
os.write(writer, in_pipe)
deleted = Kept("/var/tmp/witness-deleted", 256 << 10)
os.unlink(deleted.path)
# Not synced before the first request: the disk alone does not have it, disk and memory do.
on_disk = Kept("/var/tmp/witness", 256 << 10)
in_tmpfs = Kept("/dev/shm/witness", 1 << 20)

token = os.urandom(8).hex()
asked = 0
ticks = 0
threading.Thread(target=count, daemon=True).start()

# The directory gets its name once it is whole, so that nobody makes a file in place of a FIFO.
os.mkdir(DIR + ".new")
os.mkfifo(DIR + ".new/ask")
os.mkfifo(DIR + ".new/answer")
os.rename(DIR + ".new", DIR)

while True:
    with open(DIR + "/ask") as request:
        request.read()
    asked += 1
    wrong = []
    checks = {
        "memory": check_memory,
        "pipe": check_pipe,
        "connection": check_connection,
        "other process": check_other_process,
        "deleted file": lambda: deleted.check(asked, from_disk=True),
        "file on disk": lambda: on_disk.check(asked, from_disk=False),
        "file in tmpfs": lambda: in_tmpfs.check(asked, from_disk=False),
    }
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            wrong.append(f"{name}: {error}")
    if os.fstat(deleted.fd).st_nlink != 0:
        wrong.append("deleted file: it has a name again")
    answer = {
        "token": token,
        "asked": asked,
        "ticks": ticks,
        "wrong": wrong,
        "random": os.urandom(16).hex(),
    }
    with open(DIR + "/answer", "w") as out:
        json.dump(answer, out)
