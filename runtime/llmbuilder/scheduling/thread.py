"""The thread that decodes: one for any number of lanes, which take turns."""

import threading
import weakref

from llmbuilder import forking
from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.lane import Lane
from llmbuilder.scheduling.request import Limits


class _Work:
    """What the thread works on. It holds nothing that would keep a `DecodingThread` alive."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.lanes: tuple[Lane, ...] = ()
        self.stopped = False

    def run(self) -> None:
        while self._wait():
            for lane in self.lanes:
                with self.changed:
                    has_work = lane.has_work
                if has_work:
                    lane.turn()
                elif lane.is_done:
                    self._forget(lane)

    def _wait(self) -> bool:
        """Wait for something to do; whether there is."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or any(lane.has_work for lane in self.lanes))
            return not self.stopped or any(lane.has_work for lane in self.lanes)

    def _forget(self, lane: Lane) -> None:
        with self.changed:
            self.lanes = tuple(other for other in self.lanes if other is not lane)

    def stop(self, thread: threading.Thread) -> None:
        """End all lanes, and wait for the thread."""
        for lane in self.lanes:
            lane.close()
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        if thread is not threading.current_thread():
            thread.join()


class DecodingThread:
    """Decodes for lanes, a turn of each after the other, so that models share the machine's cores.

    It starts with the first lane, and ends when it is closed, forgotten, or the program ends.
    """

    def __init__(self) -> None:
        """Begin without a lane."""
        self._work = _Work()
        self._end: weakref.finalize[..., DecodingThread] | None = None
        forking.tell(self)

    def lane(self, generator: TextGenerator, limits: Limits) -> Lane:
        """Another lane, for requests to ``generator``."""
        work = self._work
        lane = Lane(generator, limits, work.changed)
        with work.changed:
            work.lanes = (*work.lanes, lane)
            if self._end is None:
                thread = threading.Thread(target=work.run, name="llmbuilder decoding", daemon=True)
                self._end = weakref.finalize(self, work.stop, thread)
                thread.start()
        return lane

    def close(self) -> None:
        """End what runs with an error, and then the thread."""
        if self._end is not None:
            self._end()

    def after_fork(self) -> None:
        """Leave everything to the parent: a child has none of its threads."""
        if self._end is not None:
            self._end.detach()
        forking.keep_for_ever(self._work)
        self._work, self._end = _Work(), None
