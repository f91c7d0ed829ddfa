"""Watches the clocks while the machine may sleep, and writes down what it saw.

Usage: clocks.py SECONDS. Ends when the `sleep SECONDS` is over that it starts at its start, and a
timer of the wall clock has told that the clock was set, which it waits for at most a while.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import threading
import time

# How long the timer is waited for.
PATIENCE = 60
DIR = "/run/clocks"
# linux/timerfd.h
TFD_TIMER_ABSTIME = 1
TFD_TIMER_CANCEL_ON_SET = 2

CLOCKS = {
    "monotonic": time.CLOCK_MONOTONIC,
    "boottime": time.CLOCK_BOOTTIME,
    "realtime": time.CLOCK_REALTIME,
}


def now():
    return {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}


class TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanos", ctypes.c_long)]


class TimerSpec(ctypes.Structure):
    _fields_ = [("interval", TimeSpec), ("value", TimeSpec)]


def wall_clock_timer():
    """A timer that is due in an hour, and is cancelled when the clock is set."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_REALTIME, 0)
    due = TimerSpec(TimeSpec(0, 0), TimeSpec(int(time.time()) + 3600, 0))
    flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
    if fd < 0 or libc.timerfd_settime(fd, flags, ctypes.byref(due), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return fd


def main():
    saw = {"jumps": {name: 0.0 for name in CLOCKS}, "timer": "silent"}
    over = threading.Event()

    def wait_for_timer():
        try:
            os.read(timer, 8)
            saw["timer"] = "expired"
        except OSError as error:
            saw["timer"] = errno.errorcode[error.errno]

    def sleep():
        subprocess.run(["sleep", sys.argv[1]], check=True)
        over.set()

    timer = wall_clock_timer()
    began = now()
    sleeper = threading.Thread(target=sleep)
    waiter = threading.Thread(target=wait_for_timer, daemon=True)
    sleeper.start()
    waiter.start()
    os.makedirs(DIR, exist_ok=True)
    open(f"{DIR}/ready", "w").close()
    last = began
    while not over.is_set():
        time.sleep(0.01)
        here = now()
        for name in CLOCKS:
            saw["jumps"][name] = max(saw["jumps"][name], here[name] - last[name])
        last = here
    waiter.join(PATIENCE)
    # Of the sleep alone, by each clock.
    saw["slept"] = {name: last[name] - began[name] for name in CLOCKS}
    with open(f"{DIR}/new", "w") as file:
        json.dump(saw, file)
    os.rename(f"{DIR}/new", f"{DIR}/saw")


main()
