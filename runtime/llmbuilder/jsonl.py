"""Prompts from a JSONL file, completions into another, in order; after a kill it goes on where it stopped.

An input line is an object with ``prompt``, optionally ``id`` (its line number, from 1, if absent) and any option of
`GenerationConfig`. An output line has ``id text finish_reason prompt_tokens new_tokens``, or ``id error``. Lines are
written whole and in the order of the input, so the lines that are there say exactly what is done.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.generator import Completion, TextGenerator

Result = list[Completion] | LLMBuilderError
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``tokens`` and ``seconds`` are this run's, without the ``resumed`` lines it found done."""

    done: int
    total: int
    resumed: int
    errors: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """New tokens of the finished prompts by time."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the prompts done in this run; None before the first."""
        fresh = self.done - self.resumed
        return (self.total - self.done) * self.seconds / fresh if fresh else None


@dataclass(slots=True)
class _Line:
    """An input line and what came of it."""

    id: Any
    request: Mapping[str, Any]
    result: Result | None = None


def generate_file(
    generator: TextGenerator,
    source: Path,
    target: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    config: GenerationConfig | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    **overrides: Any,
) -> Progress:
    """Complete every prompt of ``source`` into ``target``.

    Args:
        generator: what completes them; ``batch_size`` bounds the sequences decoded at once.
        source: JSONL file of prompts.
        target: JSONL file of completions.
        resume: go on after the lines that ``target`` already has.
        overwrite: begin anew if ``target`` is there.
        config: options of all prompts; a line's own come first.
        report: called after every line written.
        overrides: options of all prompts by name.

    Raises:
        ConfigError: ``source`` is missing, ``target`` is there already or was made from other prompts.
    """
    _check_paths(source, target, resume=resume, overwrite=overwrite)
    with source.open("rb") as lines:
        total = sum(1 for _ in lines)
    done = _keep_whole_lines(source, target) if resume and target.exists() else 0
    progress = Progress(done=done, total=total, resumed=done)
    started = time.monotonic()
    # Half a character (a lone surrogate, as an id may have) is written as the escape that JSON has for it.
    with target.open("a" if resume else "w", encoding="utf-8", errors="backslashreplace") as output:
        for record in _complete(generator, islice(_read(source), done, None), config, overrides):
            output.write(json.dumps(record, ensure_ascii=False) + "\n")
            output.flush()
            progress = replace(
                progress,
                done=progress.done + 1,
                errors=progress.errors + ("error" in record),
                tokens=progress.tokens + record.get("new_tokens", 0),
                seconds=time.monotonic() - started,
            )
            report(progress)
    return progress


def _check_paths(source: Path, target: Path, *, resume: bool, overwrite: bool) -> None:
    if not source.is_file():
        raise ConfigError(f"There is no file of prompts at {source}.")
    if target.exists() and target.samefile(source):
        raise ConfigError(f"{target} is the file of prompts itself. Name another file for the completions.")
    if target.exists() and not (resume or overwrite):
        raise ConfigError(f"{target} exists. Resume to go on after its last line, or overwrite it.")


def _read(source: Path) -> Iterator[_Line]:
    """Every line, those that are wrong with their error."""
    with source.open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, start=1):
            yield _parse(text, number)


def _parse(text: str, number: int) -> _Line:
    try:
        raw = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return _Line(number, {}, ConfigError(f"Line {number} is not JSON: {error}."))
    if not isinstance(raw, dict):
        return _Line(
            number,
            {},
            ConfigError(f"Line {number} must be an object with a prompt, got {text.strip()[:80]}."),
        )
    line = _Line(raw.pop("id", number), raw)
    if "prompt" not in raw:
        line.result = ConfigError(f"Line {number} has no prompt.")
    elif raw.get("num_return_sequences", 1) != 1:
        line.result = ConfigError(f"Line {number}: a line has one completion; give the prompt once for each.")
    return line


def _complete(
    generator: TextGenerator,
    lines: Iterable[_Line],
    config: GenerationConfig | None,
    overrides: Mapping[str, Any],
) -> Iterator[Record]:
    """Output records in the order of the lines; what is done too early waits for its turn."""
    ahead: deque[_Line] = deque()
    requested: dict[int, _Line] = {}
    numbers = count()

    def requests() -> Iterator[tuple[Any, dict[str, Any]]]:
        for line in lines:
            ahead.append(line)
            if line.result is None:
                requested[next(numbers)] = line
                yield line.request["prompt"], {k: v for k, v in line.request.items() if k != "prompt"}

    for number, result in generator.complete_each(requests(), config, **overrides):
        requested.pop(number).result = result
        yield from _take_done(ahead)
    yield from _take_done(ahead)


def _take_done(ahead: deque[_Line]) -> Iterator[Record]:
    while ahead and ahead[0].result is not None:
        line = ahead.popleft()
        yield _record(line.id, line.result)


def _record(identity: Any, result: Result | None) -> Record:
    if not isinstance(result, list):
        return {"id": identity, "error": str(result)}
    (completion,) = result
    return {
        "id": identity,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "new_tokens": len(completion.token_ids),
    }


def _keep_whole_lines(source: Path, target: Path) -> int:
    """Cut off a line that was not finished; return how many stay, once their ids are found to be the prompts'."""
    whole = 0
    kept = 0
    expected = _read(source)
    with target.open("rb") as lines:
        for text in lines:
            if not text.endswith(b"\n"):
                break
            line = next(expected, None)
            if line is None or _identity(text) != line.id:
                raise ConfigError(
                    f"{target}, line {kept + 1}, is not the completion of that line of {source}. "
                    "Resume with the prompts it was made from, or write to another file."
                )
            kept += 1
            whole += len(text)
    os.truncate(target, whole)
    return kept


def _identity(text: bytes) -> Any:
    try:
        return json.loads(text)["id"]
    except (ValueError, KeyError, TypeError):
        return object()  # equal to no id
