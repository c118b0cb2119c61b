"""Calls are found however an answer comes in pieces."""

import pytest

from llmbuilder_server.tools.forms import HERMES, LLAMA
from llmbuilder_server.tools.reader import Argued, Called, CallReader, Said

ODD = '{"a": "}\\"{]", "b": [{}, {"c": "\\\\"}]}'
ANSWERS = [
    (HERMES, "no call", ["no call"]),
    (HERMES, " <tool_cal l> \n", [" <tool_cal l> \n"]),
    (HERMES, f"Well,\n{HERMES.write('f', ODD)}", ["Well,", ("f", ODD)]),
    (HERMES, f"{HERMES.write('f', '{}')}\n{HERMES.write('g', ODD)}", [("f", "{}"), ("g", ODD)]),
    (HERMES, f"{HERMES.write('f', '{}')}\n", [("f", "{}")]),
    (LLAMA, LLAMA.write("f", ODD), [("f", ODD)]),
    (LLAMA, f"See: {LLAMA.write('f', ODD)}", [f"See: {LLAMA.write('f', ODD)}"]),
    (LLAMA, '{"nam', ['{"nam']),
    (LLAMA, "", []),
]
CUT = [
    (HERMES, HERMES.write("f", ODD)[:20], ['<tool_call>\n{"name":']),
    (HERMES, f"{HERMES.write('f', ODD)}\n<tool", [("f", ODD)]),
    (HERMES, HERMES.write("f", ODD)[:-3], [("f", ODD)]),
    (LLAMA, LLAMA.write("f", ODD)[:-5], [("f", ODD[:-4])]),
]


def read(form, pieces):
    reader = CallReader(form)
    events = [event for piece in pieces for event in reader.feed(piece)]
    found = []
    for event in events + reader.finish():
        if isinstance(event, Called):
            found.append((event.name, ""))
        elif isinstance(event, Argued):
            found[-1] = (found[-1][0], found[-1][1] + event.text)
        elif found and isinstance(found[-1], str):
            found[-1] += event.text
        else:
            assert isinstance(event, Said)
            found.append(event.text)
    return found, reader.is_complete


@pytest.mark.parametrize(("form", "text", "expected"), ANSWERS, ids=range(len(ANSWERS)))
def test_whole_answers(form, text, expected):
    assert read(form, [text]) == (expected, True)
    assert read(form, text) == (expected, True)
    for cut in range(len(text)):
        assert read(form, [text[:cut], text[cut:]]) == (expected, True)


@pytest.mark.parametrize(("form", "text", "expected"), CUT, ids=range(len(CUT)))
def test_answers_that_something_cuts_off_are_not_complete(form, text, expected):
    assert read(form, [text]) == (expected, False)
    assert read(form, text) == (expected, False)
