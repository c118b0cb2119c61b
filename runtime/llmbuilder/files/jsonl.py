"""Prompts from a JSONL file, completions into another, in order; after a kill it goes on where it stopped.

An input line is an object with ``prompt``, optionally ``id`` (its line number, from 1, if absent) and any option of
`GenerationConfig`, where a temperature of 0 is greedy. An output line has ``id text finish_reason prompt_tokens
new_tokens``, or ``id error``; or ``id text`` where a text is made in many steps. Lines are written whole and in the
order of the input, so the lines that are there say exactly what is done. Empty lines count for nothing.
"""

import codecs
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from llmbuilder.cleanup import writing
from llmbuilder.config import GenerationConfig, greedy_at_zero, one_answer
from llmbuilder.errors import ConfigError, LLMBuilderError
from llmbuilder.files import holding, resuming
from llmbuilder.generator import Completion, Engine, Options
from llmbuilder.overrides import GenerationOptions

if TYPE_CHECKING:
    from llmbuilder.filtering import OutputGate

Result = list[Completion] | str | LLMBuilderError
Record = dict[str, Any]


class Completer(Protocol):
    """What completes prompts, such as `TextGenerator` or `ConstrainedGenerator`.

    One whose texts have a form has it as ``form`` too, a mapping as JSON has them.
    """

    @property
    def engine(self) -> Engine:
        """The model with its tokenizer."""
        ...

    @property
    def config(self) -> GenerationConfig:
        """The options of a call that names none."""
        ...

    def complete_each(
        self,
        requests: Iterable[tuple[Any, Options] | None],
        config: GenerationConfig | None = None,
        **overrides: Unpack[GenerationOptions],
    ) -> Iterator[tuple[int, Result]]:
        """Number and result of each request, as of `TextGenerator`."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``tokens`` and ``seconds`` are this run's, without the ``resumed`` lines it found done.

    ``errors`` counts the lines of the whole file that have one instead of a text.
    """

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
    generator: Completer,
    source: Path,
    target: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    config: GenerationConfig | None = None,
    gate: "OutputGate | None" = None,
    report: Callable[[Progress], None] = lambda _: None,
    **overrides: Unpack[GenerationOptions],
) -> Progress:
    """Complete every prompt of ``source`` into ``target``.

    Args:
        generator: what completes them; ``batch_size`` bounds the sequences decoded at once.
        source: JSONL file of prompts.
        target: JSONL file of completions.
        resume: go on after the lines that ``target`` already has, if there are any.
        overwrite: begin anew if ``target`` is there.
        config: options of all prompts; a line's own come first.
        gate: what each text must pass: its line has it as it may be shown, or the reason why not as its error.
        report: called at the beginning and after every line written.
        overrides: options of all prompts by name.

    Raises:
        ConfigError: ``source`` is missing, ``target`` is there already, was begun with something else or is being
            written by another process, options that cannot be used. Nothing has been written then.
        FileError: ``target`` cannot be written, or no longer. What is written stays, so that it can be resumed.
    """
    _check_paths(source, target, resume=resume, overwrite=overwrite)
    facts = resuming.describe(
        generator.engine,
        source,
        _common(generator, config, overrides),
        {"filter": {} if gate is None else gate.settings, "form": getattr(generator, "form", {})},
    )
    with holding.held(target, new=not (resume or overwrite)) as output:
        if output is None:
            raise ConfigError(
                f"{target} is being written by {resuming.holder(target)}. Let it finish, or name another file."
            )
        kept = resuming.Kept(0, 0, 0)
        if os.fstat(output).st_size and resume:
            resuming.check_same_run(target, source, facts)
            kept = resuming.whole_lines(target, (line.id for line in _read(source)))
        with source.open("rb") as lines:
            total = sum(1 for line in lines if line.strip())
        holding.cut(output, kept.size)
        resuming.begin(target, facts)
        progress = Progress(done=kept.lines, total=total, resumed=kept.lines, errors=kept.errors)
        missing = islice(_read(source), kept.lines, None)
        records = _complete(generator, missing, config, gate, overrides)
        report(progress)
        for last in _write(records, target, output, progress):
            report(last)
            progress = last
        resuming.end(target)
    return progress


def generate_lines(
    generator: Completer,
    source: Path,
    config: GenerationConfig | None = None,
    *,
    gate: "OutputGate | None" = None,
    **overrides: Unpack[GenerationOptions],
) -> Iterator[Record]:
    """Complete every prompt of ``source``, yielding what `generate_file` would write, in the order of the input.

    Raises:
        ConfigError: ``source`` is missing, or options cannot be used.
    """
    _check_source(source)
    _common(generator, config, overrides)
    return _complete(generator, _read(source), config, gate, overrides)


def _write(records: Iterator[Record], target: Path, output: int, progress: Progress) -> Iterator[Progress]:
    """Append records, each as a line; yield how far that is after each."""
    started = time.monotonic()
    for record in records:
        # Half a character (a lone surrogate, as an id may have) is written as the escape that JSON has for it.
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with writing(target, "Make room, then resume: what is written stays."):
            holding.append(output, line)
        progress = replace(
            progress,
            done=progress.done + 1,
            errors=progress.errors + ("error" in record),
            tokens=progress.tokens + record.get("new_tokens", 0),
            seconds=time.monotonic() - started,
        )
        yield progress


def _common(
    generator: Completer, config: GenerationConfig | None, overrides: Mapping[str, Any]
) -> GenerationConfig:
    """The options of all lines."""
    return one_answer(GenerationConfig.merge(generator.config, config, overrides))


def _check_source(source: Path) -> None:
    if not source.is_file():
        raise ConfigError(f"There is no file of prompts at {source}. Check the path.")


def _check_paths(source: Path, target: Path, *, resume: bool, overwrite: bool) -> None:
    _check_source(source)
    if target.exists() and target.samefile(source):
        raise ConfigError(f"{target} is the file of prompts itself. Name another file for the completions.")
    if target.exists() and not (resume or overwrite):
        raise ConfigError(f"{target} exists. Resume to go on after its last line, or overwrite it.")
    if resume and overwrite:
        raise ConfigError("To resume and to overwrite contradict each other: choose one.")


def _read(source: Path) -> Iterator[_Line]:
    """Every line, those that are wrong with their error."""
    with source.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            if text.strip():
                yield _parse(text.removeprefix(codecs.BOM_UTF8) if number == 1 else text, number)


def _parse(text: bytes, number: int) -> _Line:
    try:
        raw = json.loads(text.decode())
    except UnicodeDecodeError as error:
        return _Line(number, {}, ConfigError(f"Line {number} is not UTF-8: {error}. Save the file as UTF-8."))
    except (ValueError, RecursionError) as error:
        return _Line(
            number, {}, ConfigError(f'Line {number} is not JSON: {error}. Write {{"prompt": "..."}}.')
        )
    if not isinstance(raw, dict):
        got = text.decode().strip()[:80]
        return _Line(number, {}, ConfigError(f"Line {number} must be an object with a prompt, got {got}."))
    line = _Line(raw.pop("id", number), raw)
    if "prompt" not in raw:
        line.result = ConfigError(f'Line {number} has no prompt. Write {{"prompt": "..."}}.')
    elif raw.get("num_return_sequences", 1) != 1:
        line.result = ConfigError(f"Line {number}: a line has one completion; give the prompt once for each.")
    return line


def _complete(
    generator: Completer,
    lines: Iterable[_Line],
    config: GenerationConfig | None,
    gate: "OutputGate | None",
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
                own = {name: value for name, value in line.request.items() if name != "prompt"}
                yield line.request["prompt"], greedy_at_zero(own)

    for number, result in generator.complete_each(requests(), config, **overrides):
        line = requested.pop(number)
        line.result = result if gate is None else _passed(gate, line.request["prompt"], result)
        yield from _take_done(ahead)
    yield from _take_done(ahead)


def _passed(gate: "OutputGate", prompt: Any, result: Result) -> Result:
    """A result as it may be shown; an error if it may not."""
    if isinstance(result, LLMBuilderError):
        return result
    written = result if isinstance(result, str) else result[0].text
    try:
        text = gate.let_through(written, prompt if isinstance(prompt, str) else None)
    except LLMBuilderError as error:
        return error
    return text if isinstance(result, str) else [replace(result[0], text=text)]


def _take_done(ahead: deque[_Line]) -> Iterator[Record]:
    while ahead and ahead[0].result is not None:
        line = ahead.popleft()
        yield _record(line.id, line.result)


def _record(identity: Any, result: Result | None) -> Record:
    if isinstance(result, str):
        return {"id": identity, "text": result}
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
