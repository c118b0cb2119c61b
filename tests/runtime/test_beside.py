"""Work in a thread while a block runs: its result, and its errors, come at the block's end."""

import threading

import pytest

from llmbuilder.engine.beside import beside
from llmbuilder.errors import BundleError, TokenizerError

PATIENCE = 600


def fail(error):
    raise error


def test_work_and_block_run_at_once():
    block, work = threading.Event(), threading.Event()

    def wait():
        work.set()
        assert block.wait(PATIENCE)
        return "done"

    with beside(wait) as other:
        assert work.wait(PATIENCE)
        block.set()
    assert other.result == "done"


def test_the_works_error_comes_at_the_end_of_the_block():
    reached = []
    with (
        pytest.raises(TokenizerError, match="no tokenizer"),
        beside(lambda: fail(TokenizerError("no tokenizer"))),
    ):
        reached.append("the end")
    assert reached == ["the end"]


def test_the_works_error_comes_before_the_blocks():
    with (
        pytest.raises(TokenizerError, match="no tokenizer"),
        beside(lambda: fail(TokenizerError("no tokenizer"))),
    ):
        raise BundleError("no model")


def test_the_blocks_error_comes_when_the_work_is_done():
    done = []
    with pytest.raises(BundleError, match="no model"), beside(lambda: done.append("work")):
        raise BundleError("no model")
    assert done == ["work"]


def test_an_interrupt_is_not_held_up():
    end = threading.Event()
    with pytest.raises(KeyboardInterrupt), beside(lambda: end.wait(PATIENCE)):
        raise KeyboardInterrupt
    end.set()


def test_where_the_system_gives_no_thread_the_work_comes_first(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with beside(lambda: "done") as other:
        assert other.result == "done"
    with pytest.raises(TokenizerError), beside(lambda: fail(TokenizerError("no tokenizer"))):
        raise AssertionError("the block runs in vain")
