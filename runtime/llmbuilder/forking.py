"""What a forked child may touch of its parent's.

A child has one thread: locks that others held stay locked, processes and pipes are shared, and the thread pools of ONNX
Runtime stand without threads. A run in such a pool waits for ever, and so does its end, which joins them (onnxruntime
pull request 31961). So objects are told of the fork, and what must not end is never ended.
"""

import ctypes
import os
import threading
import weakref
from typing import Protocol

LOADING = threading.RLock()
"""Held while ONNX Runtime loads. A fork waits for it: the child would inherit locks inside ONNX Runtime as they are."""


class Forked(Protocol):
    """What has something that a child must not share."""

    def after_fork(self) -> None:
        """Part with it. Called in the child, before anything else runs there."""
        ...


_TOLD: "weakref.WeakSet[Forked]" = weakref.WeakSet()
_ENDLESS: "weakref.WeakSet[object]" = weakref.WeakSet()


def tell(thing: Forked) -> None:
    """Call ``thing.after_fork`` in every child that is forked while it lives."""
    _TOLD.add(thing)


def never_end_in_children(thing: object) -> None:
    """Let every child that is forked while ``thing`` lives keep it for ever, beyond the end of the interpreter."""
    _ENDLESS.add(thing)


def keep_for_ever(thing: object) -> None:
    """Never end ``thing`` in this process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for thing in list(_ENDLESS):
        keep_for_ever(thing)
    for forked in list(_TOLD):
        forked.after_fork()
    LOADING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOADING.acquire, after_in_parent=LOADING.release, after_in_child=_in_child)
