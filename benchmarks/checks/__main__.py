"""`python -m starcast.benchmarks.checks`."""

from __future__ import annotations

import signal
import sys

from starcast.benchmarks.checks.run import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # like Ctrl-C: ends running checks too
    main()
