"""Schemas and tools compiled to constraints, each once as long as it is among those used last."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_KEPT = 64
_Result = TypeVar("_Result")


class Compiler:
    """Makes constraints, one at a time, in a thread that nothing else waits for."""

    def __init__(self, seconds: float) -> None:
        """Let nobody wait for longer than ``seconds``."""
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, "llmbuilder compiling")
        self._kept: OrderedDict[str, Any] = OrderedDict()
        """For the thread only."""

    async def get(self, key: str, make: Callable[[], _Result]) -> _Result:
        """What ``make`` returns, or has returned for the same ``key``.

        Raises:
            TimeoutError: that takes too long; who asks again later finds it, once it is made.
        """
        making = asyncio.get_running_loop().run_in_executor(self._thread, self._get, key, make)
        return await asyncio.wait_for(making, self._seconds)

    def close(self) -> None:
        """Make nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _get(self, key: str, make: Callable[[], _Result]) -> _Result:
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        kept: _Result = self._kept[key]
        return kept
