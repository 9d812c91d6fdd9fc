"""A service: prints that it is ready, and ends with 42 on SIGTERM."""

import os
import signal
import sys


def stop(_signal, _frame):
    print("SIGTERM received")
    sys.exit(42)


signal.signal(signal.SIGTERM, stop)
print("ready as process", os.getpid(), flush=True)
while True:
    signal.pause()
