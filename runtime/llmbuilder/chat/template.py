"""A model's chat template, rendered by a process of its own within limits of time, memory and length."""

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from llmbuilder.closing import Closing
from llmbuilder.errors import BundleError

SECONDS = 5.0
"""Longest time that a rendering may take. Usual ones take a millisecond."""
_SECONDS_TO_START = 60.0

Message = Mapping[str, str]
"""``{"role": "system" | "user" | "assistant", "content": ...}``."""


class ChatTemplate(Closing):
    """Turns messages into a prompt. Starts its process at the first rendering and keeps it."""

    def __init__(self, source: str, variables: Mapping[str, str], *, seconds: float = SECONDS) -> None:
        """Render ``source``, which need not be trusted, with ``variables`` such as ``bos_token``."""
        self._source = source
        self._variables = variables
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation; with ``add_generation_prompt`` up to where the assistant speaks.

        Raises:
            BundleError: the template is malformed, refuses the messages, or goes beyond its limits.
        """
        request = {
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._variables,
        }
        with self._lock:
            if self._process is None:
                self._process = self._start()
            return self._ask(self._process, request, self._seconds)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                _end(self._process)
                self._process = None

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmbuilder.chat.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # Ctrl-C in a terminal is for the chat
        )
        weakref.finalize(self, _end, process)
        self._ask(process, {"template": self._source}, _SECONDS_TO_START)
        return process

    def _ask(self, process: subprocess.Popen[str], request: Mapping[str, Any], seconds: float) -> str:
        assert process.stdin is not None  # noqa: S101 (it was started with pipes)
        assert process.stdout is not None  # noqa: S101
        late = threading.Timer(seconds, process.kill)
        late.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            late.cancel()
        if not answer:
            _end(process)
            self._process = None
            raise _unusable(f"it took more than {seconds:g} s, or too much memory")
        found: dict[str, str] = json.loads(answer)
        if "error" in found:
            raise _unusable(found["error"])
        return found["text"]


def _unusable(reason: str) -> BundleError:
    return BundleError(f"The model's chat template cannot be rendered: {reason.rstrip('.: ')}.")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
