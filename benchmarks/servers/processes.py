"""Servers as processes of their own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from servers.wire import Lost, asked

_READY_SECONDS = 300
_END_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Server:
    """A process that serves. A context manager, which ends it."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        ready: str = "/health",
    ) -> None:
        """Start ``command``, which listens at ``port`` and answers ``ready`` with 200 when it can be asked."""
        self.address = f"http://127.0.0.1:{port}"
        self.log = log
        self.exit_code: int | None = None
        self._ready = ready
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=os.environ | (environment or {})
            )

    async def wait(self) -> None:
        """Wait until it can be asked.

        Raises:
            RuntimeError: it has ended, or takes too long.
        """
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                async with asked(self.address, self._ready) as answer:
                    if answer.status == 200:
                        return
            except Lost:
                pass
            await asyncio.sleep(0.1)
        raise RuntimeError(f"The server is not ready. See {self.log}.")

    def resident_bytes(self) -> int:
        """Memory of the process and of those that it has started."""
        return sum(_resident(process) for process in _family(self._process.pid))

    def end(self) -> None:
        """Tell it to end, wait, and note its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self.exit_code is None:
            self.end()


def our_server(bundle: Path, log: Path, *arguments: str, threads: int) -> Server:
    """``llmb serve``, its model called ``model``."""
    port = free_port()
    command = [sys.executable, "-m", "llmbuilder_cli", "serve", f"model={bundle}"]
    options = [f"--port={port}", f"--threads={threads}", *arguments]
    # One arena of glibc's: of several each keeps what its threads freed, and which threads share one is chance.
    return Server([*command, *options], port, log, {"MALLOC_ARENA_MAX": "1"})


def _family(pid: int) -> list[int]:
    family = [pid]
    for parent in family:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            family += map(int, tasks.read_text(encoding="ascii").split())
    return family


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # ended just now
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
