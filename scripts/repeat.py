"""Run a command several times, as a proof that it does not pass by luck.

    python scripts/repeat.py --times=20 [--busy] [--results=FILE] COMMAND ...

ends with 0 if every run did. ``--busy`` keeps every core at work meanwhile.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

BUSY = "while True: pass"


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """One process a core that does nothing but compute."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description="Run a command several times.")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="keep every core at work meanwhile")
    parser.add_argument("--results", type=Path, help="file for the number of runs and of those that failed")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    failed, seconds = 0, []
    with busy_cores() if options.busy else contextlib.nullcontext():
        for turn in range(options.times):
            start = time.monotonic()
            code = subprocess.run(options.command, check=False).returncode
            seconds.append(round(time.monotonic() - start))
            failed += code != 0
            print(f"run {turn + 1} of {options.times} ended with {code} after {seconds[-1]} s", flush=True)
    if options.results:
        measured = {"runs": options.times, "failed": failed, "busy": options.busy, "seconds": seconds}
        options.results.write_text(json.dumps(measured) + "\n", encoding="utf-8")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
