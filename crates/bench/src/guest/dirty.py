# Writes to as many MiB of memory as it is told, says so, and keeps them.
import mmap
import os
import signal
import sys

size = int(sys.argv[1]) << 20
# Random, so that no page is zero and no file system makes it smaller.
block = os.urandom(1 << 20)
memory = mmap.mmap(-1, max(size, 1))
for at in range(0, size, len(block)):
    memory[at : at + len(block)] = block
print("ready", flush=True)
signal.pause()
