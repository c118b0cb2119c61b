"""Signals that tell a program to stop, as errors that leave nothing half done."""

import signal
import sys


def end_on(*names: str) -> None:
    """Let signals of these names end the program with 128 + number, through every ``finally``, but only once.

    Those that do not exist here (Windows has no SIGHUP), or that this process was started to ignore, as with nohup,
    stay as they are.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def end(number: int, _: object) -> None:
        for other in {*heeded, signal.SIGINT}:
            signal.signal(other, lambda *_: None)  # SIG_IGN would have Python tell of one that is on its way
        sys.exit(128 + number)

    for number in heeded:
        signal.signal(number, end)
