"""The program that loads a server with many clients finds what is wrong, and nothing where nothing is."""

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest
import server_load
from servers.cases import Case, make_cases
from servers.clients import Clients, Found
from servers.wire import Lost, asked

from llmbuilder.generator import TextGenerator
from llmbuilder.testing import fake_engine, random_rule

NO_TIMES = ("--most-growth=10", "--most-gap=inf")
"""No test measures time, and caches fill in the first seconds."""
FINE = {
    "statuses": {200: 5, 400: 1},
    "lost": 0,
    "log_lines_of_errors": [],
    "different": 0,
    "checked_cases": 3,
    "left_running": 0,
    "exit_code": 0,
    "growth": 0.01,
    "p99_by_median": 1.5,
}


def complain(**measured):
    return server_load.complain(FINE | measured, most_growth=0.05, most_gap=3.0)


def test_a_short_load_of_the_demo_model_finds_nothing_wrong(tmp_path):
    results = tmp_path / "results.json"
    short = ("--minutes=0.05", "--clients=16", "--cases=30", "--threads=1")
    command = [sys.executable, server_load.__file__, f"--results={results}", *short, *NO_TIMES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(results.read_text())
    assert measured["checked_answers"] >= 16
    assert (measured["lost"], measured["different"], measured["exit_code"]) == (0, 0, 0)


def test_cases_are_of_all_kinds_and_the_same_each_time():
    generator = TextGenerator.from_engine(fake_engine(random_rule()))
    first, second = (make_cases(generator, 120) for _ in range(2))
    assert [(case.kind, case.sent) for case in first] == [(case.kind, case.sent) for case in second]
    kinds = {"greedy", "seeded", "several", "beams", "json", "chat", "long"}
    assert {case.kind for case in first} == kinds


def test_a_text_that_is_another_one_is_found():
    alone = ((lambda _: ["one"]), (lambda _: ["two"]))
    cases = [Case("kind", "/v1/completions", {}, text) for text in alone]
    found = Found()
    found.texts.update({0: Counter({("one",): 3}), 1: Counter({("two",): 1, ("other",): 1})})
    (wrong,) = server_load.different(None, cases, found, [0, 1])
    assert wrong.startswith("case 1, kind: ('other',)")


@pytest.mark.parametrize(
    ("measured", "complaint"),
    [
        ({"lost": 1}, "lost"),
        ({"statuses": {200: 4, 503: 1}}, "server failed"),
        ({"log_lines_of_errors": ["Traceback"]}, "server failed"),
        ({"different": 1}, "alone"),
        ({"checked_cases": 0}, "alone"),
        ({"left_running": 2}, "left running"),
        ({"exit_code": None}, "end well"),
        ({"growth": 0.06}, "Memory"),
        ({"p99_by_median": 3.0}, "unevenly"),
        ({"p99_by_median": float("nan")}, "unevenly"),
    ],
    ids=str,
)
def test_each_thing_that_is_wrong_is_said(measured, complaint):
    (said,) = complain(**measured)
    assert complaint in said
    assert complain() == []


def test_memory_is_compared_between_its_second_quarter_and_its_last():
    assert server_load.growth([10, 20, 100, 100, 900, 0, 110, 130]) == pytest.approx(0.2)
    assert server_load.growth([10, 20, 100, 100, 900, 0, 100, 100]) == 0


def test_lines_of_a_log_that_tell_of_failures_are_found():
    good = "2026-01-01 10:00:00,123 POST /v1/completions 200 0.500 s id5"
    bad = [good.replace(" 200 ", " 503 "), "Traceback (most recent call last):"]
    assert server_load.errors_in("\n".join([good, *bad])) == bad


@pytest.fixture
def answering():
    """Run something with the address of a server that answers every connection with these bytes, and closes it."""

    def run(content, ask):
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(content)
            writer.close()

        async def main():
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            async with server:
                return await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

        return asyncio.run(main())

    return run


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "closed the connection"),
        (HEAD, "closed the connection"),
        (HEAD + b"5\r\nda", "IncompleteReadError"),
        (HEAD + b"0\r\n\r\n", "without its end"),
        (HEAD + b'13\r\ndata: {"error": 5}\n\n\r\n0\r\n\r\n', "an error in a stream"),
    ],
    ids=range(5),
)
def test_a_stream_that_is_cut_off_counts_as_lost(answering, content, message):
    async def ask(address):
        with pytest.raises(Lost, match=message):
            async with asked(address, "/") as answer:
                assert [event async for event in answer.events()] == []

    answering(content, ask)


def test_an_answer_of_another_status_counts_as_lost(answering):
    content = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"
    cases = [Case("kind", "/v1/completions", {"prompt": "x"}, lambda _: [])]

    async def ask(address):
        clients = Clients(address, cases)
        await clients.run(2, 0.2)
        return clients.found

    found = answering(content, ask)
    assert len(found.lost) + found.answers["gone"] >= found.answers.total() > 0
    assert set(found.statuses) == {500}
