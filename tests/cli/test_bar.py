"""What stands on a terminal and is taken back: the bar below the lines of an export, and what a command is doing."""

import io
import sys

import pytest

import llmbuilder_export
from llmbuilder.showing import write_aside
from llmbuilder_cli.progress import said
from llmbuilder_export import bar as bars
from llmbuilder_export.__main__ import main
from llmbuilder_export.bar import Bar


@pytest.fixture
def screen(monkeypatch):
    """Standard error, as a terminal or not, with every change of the bar drawn."""

    def make(*, is_terminal, columns=80, term="xterm"):
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(bars, "_SECONDS_BETWEEN_BARS", 0)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", term)
        return stream

    return make


def run():
    with Bar() as bar:
        bar.say("quantize ...")
        for done in range(3):
            bar.advance("weights", done, 2)
        bar.say("quantize: 1.0 s")


def test_it_grows_in_its_place_and_is_gone_at_the_end(screen):
    stream = screen(is_terminal=True)
    run()
    assert stream.getvalue() == (
        "quantize ...\n"
        "  0 %  weights: 0 of 2  [--------------------]"
        "\r\x1b[K 50 %  weights: 1 of 2  [##########----------]"
        "\r\x1b[K"
        "quantize: 1.0 s\n"
    )


@pytest.mark.parametrize(("is_terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_elsewhere_there_are_lines_alone(screen, is_terminal, term):
    stream = screen(is_terminal=is_terminal, term=term)
    run()
    assert stream.getvalue() == "quantize ...\nquantize: 1.0 s\n"


def test_a_line_that_comes_between_stands_above_it(screen):
    stream = screen(is_terminal=True)
    with Bar() as bar:
        bar.advance("tokens", 1, 4)
        bar.say("a word")
    assert stream.getvalue().endswith("]\r\x1b[Ka word\n")


def test_an_error_does_not_leave_it_there(screen):
    stream = screen(is_terminal=True)

    def interrupt():
        with Bar() as bar:
            bar.advance("tokens", 1, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert stream.getvalue().endswith("]\r\x1b[K")


def test_a_narrow_screen_has_the_numbers_without_the_cells(screen):
    stream = screen(is_terminal=True, columns=40)
    with Bar() as bar:
        bar.advance("texts, step by step", 12, 48)
    assert stream.getvalue() == " 25 %  texts, step by step: 12 of 48\r\x1b[K"


def test_it_is_not_drawn_for_every_step_of_a_fast_loop(screen, monkeypatch):
    stream = screen(is_terminal=True)
    monkeypatch.setattr(bars, "_SECONDS_BETWEEN_BARS", 1e9)
    monkeypatch.setattr(bars.time, "monotonic", lambda: 2e9)
    with Bar() as bar:
        for done in range(1000):
            bar.advance("tokens", done, 1000)
    assert stream.getvalue().count("%") == 1


def test_an_export_that_starts_by_itself_shows_it_too(screen, monkeypatch, tmp_path):
    stream = screen(is_terminal=True)
    monkeypatch.setattr("llmbuilder_export.__main__.end_on", lambda *_: None)

    def export_model(source, *, progress, advance, **options):
        progress("load ...")
        advance("weights", 1, 2)
        progress("load: 1.0 s")

    monkeypatch.setitem(vars(llmbuilder_export), "export_model", export_model)  # asked for, it loads PyTorch
    assert main([str(tmp_path)]) == 0
    assert stream.getvalue() == (
        "load ...\n 50 %  weights: 1 of 2  [##########----------]\r\x1b[Kload: 1.0 s\n"
    )


def test_what_a_command_is_doing_goes_for_what_is_written_meanwhile(screen):
    stream = screen(is_terminal=True)
    with said("Loading model"):
        write_aside("Exporting model.pt, once.\n")
    assert stream.getvalue() == "Loading model ...\r\x1b[KExporting model.pt, once.\n"


def test_what_a_command_is_doing_goes_at_its_end(screen):
    stream = screen(is_terminal=True)
    with said("Loading model"):
        pass
    write_aside("done\n")
    assert stream.getvalue() == "Loading model ...\r\x1b[Kdone\n"
