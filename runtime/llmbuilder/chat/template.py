"""A model's chat template, rendered by a process of its own within limits of time, memory and length."""

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmbuilder import forking
from llmbuilder.cleanup import Closing, undone_on_error
from llmbuilder.errors import BundleError, ConfigError

SECONDS = 5.0
"""Longest time that compiling, or a rendering, may take. Usual ones take a millisecond."""
_SECONDS_TO_START = 60.0

Message = Mapping[str, Any]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": ...}``, with ``tool_calls`` where there are some."""
Tool = Mapping[str, Any]
"""``{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}``."""


class RefusalError(BundleError):
    """The template itself ended a rendering with an error, within its limits."""


class ChatTemplate(Closing):
    """Turns messages into a prompt. Starts its process at the first rendering and keeps it."""

    def __init__(self, source: str, variables: Mapping[str, str], *, seconds: float = SECONDS) -> None:
        """Render ``source``, which need not be trusted, with ``variables`` such as ``bos_token``."""
        self._source = source
        self._variables = variables
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end: Callable[[], object] = lambda: None
        self._closed = False
        forking.tell(self)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt of a conversation; with ``add_generation_prompt`` up to where the assistant speaks.

        ``tools`` are those that the assistant may call.

        Raises:
            RefusalError: the template is malformed, or refuses the messages.
            BundleError: it goes beyond its limits.
            ConfigError: it is closed.
        """
        request = {
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._variables,
        }
        with self._lock:
            if self._closed:
                raise ConfigError("This model's chat template is closed. Open the model again.")
            with undone_on_error(self._stop):  # a late answer must not be taken for that to the next request
                answer = self._ask(self._process or self._start(), request)
        return _text(answer)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._stop()

    def after_fork(self) -> None:
        """Leave the process to the parent and start another when it is needed."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            forking.keep_for_ever(process)  # its end would write what the parent was about to write
            for pipe in filter(None, (process.stdin, process.stdout)):
                os.close(pipe.fileno())

    def _start(self) -> subprocess.Popen[str]:
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmbuilder.chat.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # Ctrl-C in a terminal is for the chat
        )
        self._end = weakref.finalize(self, _end, process, os.getpid())
        if not _exchange(process, "", _SECONDS_TO_START):
            raise BundleError(
                f"The process that renders the model's chat template did not start in {_SECONDS_TO_START:g} s. "
                "Try again when this machine has less to do."
            )
        _text(self._ask(process, {"template": self._source}))
        return process

    def _ask(self, process: subprocess.Popen[str], request: Mapping[str, Any]) -> dict[str, str]:
        answer = _exchange(process, json.dumps(request) + "\n", self._seconds)
        if not answer.endswith("\n"):
            raise _unusable(BundleError, f"it took more than {self._seconds:g} s, or too much memory")
        parts: dict[str, str] = json.loads(answer)
        return parts

    def _stop(self) -> None:
        if self._process is not None:
            self._process = None
            self._end()


def _exchange(process: subprocess.Popen[str], line: str, seconds: float) -> str:
    """Write a line and read one; that one has no end if the process had none, or not all of it after ``seconds``."""
    assert process.stdin is not None  # noqa: S101 (it was started with pipes)
    assert process.stdout is not None  # noqa: S101
    late = threading.Timer(seconds, process.kill)
    try:
        late.start()
        process.stdin.write(line)
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return ""
    finally:
        late.cancel()


def _text(answer: Mapping[str, str]) -> str:
    if "error" in answer:
        raise _unusable(RefusalError, answer["error"])
    return answer["text"]


def _unusable(kind: type[BundleError], reason: str) -> BundleError:
    return kind(f"The model's chat template cannot be rendered: {reason.rstrip('.: ')}.")


def _end(process: subprocess.Popen[str], owner: int) -> None:
    if os.getpid() == owner:  # a forked child has not started it
        process.kill()
        process.communicate()
