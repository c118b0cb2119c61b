"""A lane: the requests of one model, from any thread to the loop that decodes them, and their answers back."""

import time
from collections import deque
from collections.abc import Callable
from threading import Condition

from llmbuilder.decoding.group import Group
from llmbuilder.decoding.loop import Loop
from llmbuilder.decoding.running import open_loop
from llmbuilder.errors import BusyError, ConfigError, DeviceError, LLMBuilderError
from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.pace import Pace
from llmbuilder.scheduling.prefixes import Prefixes
from llmbuilder.scheduling.request import Limits, Listener, Request


class Lane:
    """Requests of one model, taken in the order in which they come.

    `submit` and `cancel` may be called from any thread; `turn` is the decoding thread's.
    """

    def __init__(
        self,
        generator: TextGenerator,
        limits: Limits,
        changed: Condition,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decode with ``generator``; ``changed`` guards what several threads use, and wakes the decoding one."""
        self.generator = generator
        self.limits = limits
        self._changed = changed
        self._clock = clock
        self._pace = Pace()
        self._loop: Loop | None = None
        self._come: deque[Request] = deque()
        self._cancelled: deque[Request] = deque()
        self._live: dict[int, Request] = {}
        """Requests that are not answered yet, by the identity of their groups."""
        self._closed = False

    @property
    def load(self) -> tuple[int, int]:
        """How many requests have joined and are not done, and how many have not joined yet."""
        with self._changed:
            waiting = sum(request.waits for request in self._live.values())
            return len(self._live) - waiting, waiting

    def submit(self, group: Group, listener: Listener) -> Request:
        """Let a group join the others in its turn.

        Raises:
            BusyError: as many wait as may.
            ConfigError: the lane is closed.
        """
        request = Request(group, listener, group.width, self._clock())
        with self._changed:
            if self._closed:
                raise ConfigError("This generator is closed. Make a new one.")
            self._check_room(request.rows)
            self._live[id(group)] = request
            self._come.append(request)
            self._changed.notify_all()
        return request

    def cancel(self, request: Request) -> None:
        """End a request, whose listener hears no more; one that is done stays as it is."""
        with self._changed:
            if self._live.pop(id(request.group), None) is not None:
                self._cancelled.append(request)
                self._changed.notify_all()

    def close(self) -> None:
        """Take no more requests, and end those there are with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def has_work(self) -> bool:
        """Whether a turn would do something. Asked with ``changed`` held."""
        is_busy = self._loop is not None and not self._loop.idle
        return bool(self._come or self._cancelled or is_busy or (self._closed and self._live))

    @property
    def is_done(self) -> bool:
        """Whether it is closed and everybody has been answered."""
        return self._closed and not self._live

    def turn(self) -> None:
        """Do the next bit of work, and tell who waits for it."""
        with self._changed:
            come, self._come = self._come, deque()
            cancelled, self._cancelled = self._cancelled, deque()
            closed = self._closed
        if closed:
            self._end_all(ConfigError("The generator was closed before the text was complete."))
            return
        try:
            self._advance(come, cancelled)
        except Exception as error:  # noqa: BLE001 (nobody may wait for a thread that is gone)
            failure = error if isinstance(error, LLMBuilderError) else _unexpected(error)
            self._end_all(failure)

    def _advance(self, come: deque[Request], cancelled: deque[Request]) -> None:
        loop = self._loop
        if loop is None:
            opens = Prefixes(self.limits.prefix_bytes).keeping(self.generator.engine.model.decoder)
            loop = self._loop = open_loop(self._pace.measuring(opens), [], self.limits.max_rows)
        for request in come:
            loop.add(request.group)
        for request in cancelled:
            loop.cancel(request.group)
        loop.admit()
        self._note_joined(loop)
        streaming = any(request.streams for request in self._requests())
        loop.chunk = self._pace.chunk(
            loop.largest_chunk, streaming=streaming, rows=loop.rows, texts=loop.texts
        )
        for group in loop.advance():
            self._tell(group)

    def _requests(self) -> list[Request]:
        with self._changed:
            return list(self._live.values())

    def _check_room(self, rows: int) -> None:
        most = self.limits.max_waiting
        _, waiting = self.load
        taken = sum(request.rows for request in self._live.values())
        if most is not None and waiting >= most and taken + rows > self.limits.max_rows:
            raise BusyError(f"{waiting} requests are waiting already, as many as may. Try again in a while.")

    def _note_joined(self, loop: Loop) -> None:
        """Tell those that wait from those that run, and end those that have waited too long."""
        now = self._clock()
        with self._changed:
            requests, come = self._requests(), list(self._come)  # since this turn began
        waiting = {id(group) for group in loop.waiting} | {id(request.group) for request in come}
        for request in requests:
            if request.waits:
                request.waits = id(request.group) in waiting
                if request.waits and self._is_late(request, now):
                    request.error = BusyError(
                        f"The request has waited {self.limits.waiting_seconds:g} s, as long as one may. "
                        "Try again when there is less to do."
                    )
                    loop.cancel(request.group)

    def _is_late(self, request: Request, now: float) -> bool:
        most = self.limits.waiting_seconds
        return most is not None and now - request.submitted > most and request.error is None

    def _tell(self, group: Group) -> None:
        with self._changed:
            request = self._live.get(id(group))
            if request is not None and group.width == 0:
                del self._live[id(group)]
        if request is None:
            return
        request.streams = True
        if not request.listener.is_heard:
            self.cancel(request)
            return
        error = request.error or group.error
        # What an error ends has no end of its own to be told of.
        pieces = [piece for piece in group.pieces() if error is None or piece.finish_reason is None]
        if pieces:
            request.listener.tell(pieces)
        if group.width == 0:
            request.listener.end(error or group.completions())

    def _end_all(self, error: LLMBuilderError) -> None:
        """End every request with an error, and begin anew with the next."""
        with self._changed:
            requests = list(self._live.values())
            self._live.clear()
            self._loop = None
        for request in requests:
            request.listener.end(error)


def _unexpected(error: Exception) -> DeviceError:
    return DeviceError(f"Decoding failed unexpectedly ({type(error).__name__}: {error}). Please report this.")
