"""usage: stall.py

Sleeps 5 ms at a time until SIGTERM or SIGINT, then prints by how many seconds it once woke too late at most: how long a
process that waits for something, as a daemon does, had to wait for a processor.
"""
import signal
import sys
import time

STEP_S = 0.005
worst = 0.0


def end(_signal, _frame):
    print(f"{worst:.3f}", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
before = time.monotonic()
while True:
    time.sleep(STEP_S)
    now = time.monotonic()
    worst = max(worst, now - before - STEP_S)
    before = now
