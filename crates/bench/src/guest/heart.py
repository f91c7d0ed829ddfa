# Beats: writes its clock, again and again. Whoever reads sees by the gaps when it stood still.
import sys
import time

period = float(sys.argv[1])
while True:
    sys.stdout.write(f"{time.monotonic_ns()}\n")
    sys.stdout.flush()
    time.sleep(period)
