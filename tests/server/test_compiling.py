"""Schemas and tools are compiled once, as long as they are among those used last."""

import asyncio
import threading

import pytest
from tool_templates import HERMES

from llmbuilder_server import formats
from llmbuilder_server.compiling import _KEPT, Compiler
from llmbuilder_server.routes import chat


@pytest.fixture
def counted(monkeypatch):
    """How often constraints are made of ``response_format`` and of ``tools``."""
    made = []

    def counting(module, name):
        real = getattr(module, name)

        def make(*arguments):
            made.append(name)
            return real(*arguments)

        monkeypatch.setattr(module, name, make)

    counting(formats, "GrammarRules")
    counting(chat, "compile_calls")
    return made


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"properties": {}}}}


def test_what_is_written_in_the_same_way_is_compiled_once(serving, counted):
    pytest.importorskip("llguidance")
    base = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 60, "seed": 1}
    schemas = [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [word]}}} for word in "ab"
    ]
    asked = [{"response_format": schema} for schema in schemas]
    asked += [{"tools": [tool("f")], "tool_choice": choice} for choice in ("auto", "required")]
    with serving(template=HERMES, window=1024) as client:
        answers = [
            client.post("/v1/chat/completions", json=base | fields).json()["choices"][0]["message"]
            for fields in asked * 2
        ]
    assert counted == ["GrammarRules"] * 2 + ["compile_calls"] * 2
    contents = [answer["content"] for answer in answers]
    assert contents[:2] == contents[4:6] == ['"a"', '"b"']


def test_those_not_used_for_longest_are_forgotten_first():
    made = []

    async def main():
        compiler = Compiler(5)
        for key in ["first", *map(str, range(_KEPT - 1)), "first", "another", "first", "0"]:
            await compiler.get(key, lambda key=key: made.append(key))
        compiler.close()

    asyncio.run(main())
    assert made.count("first") == 1
    assert made.count("0") == 2


def test_what_took_too_long_is_there_later():
    may = threading.Event()

    async def main():
        compiler = Compiler(0.05)
        with pytest.raises(TimeoutError):
            await compiler.get("slow", lambda: may.wait() and "made")
        may.set()
        while True:
            try:
                return await compiler.get("slow", lambda: "made anew")
            except TimeoutError:
                continue

    assert asyncio.run(main()) == "made"
