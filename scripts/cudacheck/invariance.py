"""Bit by bit: rows among others, reruns, prompts in parts, kept and copied rows, growth."""

from collections.abc import Sequence

import numpy as np

from cudacheck.report import Section
from cudacheck.rows import Rows, rotations
from cudacheck.setup import Setup, difference, equal, fetched, random_ids
from cudacheck.shells import Array

SMALL, LARGE = (2, 3, 8), ((9, 16), (31, 32))
"""Numbers of rows that are promised to be as one alone, and those that are promised to be as each other."""
RERUNS = 8
GROWTH = 100
"""Steps in which rows outgrow their first capacity."""
CHUNK = 2048
"""Tokens at which a long prompt is parted on a card anyway."""


def run(setup: Setup, section: Section) -> None:
    """The demo and the smaller shape at length, the larger one in short."""
    for name in ("demo", "135M"):
        with section.attempt(name):
            rows = _rows(setup, name)
            _batches(setup, section, name, rows)
            _reruns(setup, section, name, rows)
            _rows_kept(section, name, rows)
            _growth(section, name, rows)
            _splits(setup, section, name, rows)
    if section.enough("1B", setup.pick(12, 1)):
        with section.attempt("1B"):
            rows = _rows(setup, "1B")
            _splits(setup, section, "1B", rows)
            _small(section, "1B", rows, setup.pick(4, 2))
            _reruns(setup, section, "1B", rows)
    if section.enough("deterministic=False", setup.pick(10, 1)):
        with section.attempt("deterministic=False"):
            _default_attention(setup, section)


def _rows(setup: Setup, name: str, *, deterministic: bool = True) -> Rows:
    engine = setup.engine(name, deterministic=deterministic)
    room = min(512, engine.context_length)
    longest = setup.pick(room - 40, min(60, room - 40))
    return Rows(engine, prompts=40, longest=longest, capacity=room)


def _batches(setup: Setup, section: Section, name: str, rows: Rows) -> None:
    _small(section, name, rows, setup.pick(8, 2))
    for counts in LARGE:
        _large(section, name, rows, counts, setup.pick(4, 1))


def _large(section: Section, name: str, rows: Rows, counts: Sequence[int], turns: int) -> None:
    """Batches that are computed as so many rows, other neighbours and places each time; whether as alone, is told."""
    first: dict[int, Array] = {}
    same = total = 0
    for places in [each for count in counts for each in rotations(40, count, turns, count)]:
        for number, result in zip(places, rows.run(places), strict=True):
            total += 1
            same += equal(first.setdefault(number, result), result)
    label = f"in {counts[0]} to {counts[-1]} rows"
    section.check(f"{name}: the same {label}, anywhere", same == total, rows=total, equal=same)
    alone = {number: rows.alone(number) for number in list(first)[:8]}
    as_alone = sum(equal(alone[number], first[number]) for number in alone)
    section.measure(f"{name}: {label} as alone", rows=len(alone), equal=as_alone)


def _small(section: Section, name: str, rows: Rows, turns: int) -> None:
    """Every place of batches of 2, 3 and 8, with other neighbours each time."""
    alone: dict[int, Array] = {}
    for count in SMALL:
        same = total = 0
        for places in rotations(40, count, min(turns, count), count):
            for number, result in zip(places, rows.run(places), strict=True):
                if number not in alone:
                    alone[number] = rows.alone(number)
                total += 1
                same += equal(alone[number], result)
        section.check(f"{name}: in {count} rows as alone", same == total, rows=total, equal=same)


def _reruns(setup: Setup, section: Section, name: str, rows: Rows) -> None:
    for count in (1, 8, 32):
        same, again = _repeat(rows, list(range(count)), setup.pick(RERUNS, 2))
        section.check(f"{name}: reruns of {count} rows", same == again, reruns=again, equal=same)


def _repeat(rows: Rows, places: Sequence[int], times: int) -> tuple[int, int]:
    """How many of so many reruns are equal."""
    first = np.stack(rows.run(places))
    return sum(equal(first, np.stack(rows.run(places))) for _ in range(times)), times


def _rows_kept(section: Section, name: str, rows: Rows) -> None:
    """A row that was saved and loaded, and one that was copied, among others."""
    alone = rows.alone(0)
    one = rows.decoder(1)
    one.prefill(0, rows.prompts[0])
    saved = one.save(0)
    several = rows.decoder(3)
    for row, number in enumerate((1, 2)):
        several.prefill(row, rows.prompts[number])
    several.load(2, saved, len(rows.prompts[0]))
    section.check(f"{name}: a row saved and loaded", equal(rows.step(several, [1, 2, 0])[2], alone))
    one.copy(0, 1)
    both = rows.step(one, [0, 0])
    section.check(f"{name}: a row copied", all(equal(row, alone) for row in both))
    one.truncate(0, len(rows.prompts[0]))
    again = rows.step(one, [0])[0]
    section.check(f"{name}: a row truncated and stepped again", equal(again, alone))


def _growth(section: Section, name: str, rows: Rows) -> None:
    """Rows that outgrow their capacity beside those that have all of it from the start."""
    for count in (1, 8, 32):
        small, large = (_grown(rows, list(range(count)), capacity) for capacity in (64, rows.capacity))
        same = equal(small, large)
        section.check(f"{name}: growth of {count} rows", same, difference=difference(small, large))
    if rows.engine.context_length > CHUNK:
        small, large = (_outgrown(rows, capacity) for capacity in (64, rows.engine.context_length))
        section.check(
            f"{name}: growth beyond {CHUNK} tokens", equal(small, large), difference=difference(small, large)
        )


def _outgrown(rows: Rows, capacity: int) -> Array:
    """Logits [steps, V] that follow steps up to the end of a chunk."""
    decoder = rows.decoder(1, capacity)
    decoder.prefill(0, random_ids(rows.engine, CHUNK - 2, 5))
    return rows.step(decoder, [0])[0]


def _grown(rows: Rows, places: Sequence[int], capacity: int) -> Array:
    """The last logits [rows, V] after many steps from a short prompt."""
    decoder = rows.decoder(len(places), capacity)
    for row, number in enumerate(places):
        decoder.prefill(row, rows.prompts[number][:40])
    tokens = [rows.following[number][0] for number in places]
    for _ in range(GROWTH):
        logits = decoder.step(tokens)
    return np.stack([fetched(logits[row]) for row in range(len(places))])


def _splits(setup: Setup, section: Section, name: str, rows: Rows) -> None:
    """A prompt computed at once and in two parts; also across the border of 2,048 tokens where there is room."""
    window = rows.engine.context_length
    length = min(setup.pick(1024, 128), window - 8)
    _split(section, name, rows, length, sorted({1, 77, length // 2, min(256, length // 4), length - 1}))
    _handed_in(section, name, rows, length)
    if window > CHUNK + 500:
        _handed_in(section, name, rows, CHUNK + 450)
        _split(section, name, rows, CHUNK + 450, [CHUNK, 512, 1000, CHUNK + 1])


def _handed_in(section: Section, name: str, rows: Rows, length: int) -> None:
    """A prompt that the loop hands in by small parts, as between the steps of others."""
    ids = random_ids(rows.engine, length, 78)
    whole = rows.decoder(1, length + 8).prefill(0, ids)[-1]
    filling = rows.decoder(1, length + 8).begin(0, ids)
    while not filling.finished:
        filling.advance(77)
    section.check(f"{name}: {length} tokens handed in by 77", equal(whole, filling.logits))


def _split(section: Section, name: str, rows: Rows, length: int, cuts: Sequence[int]) -> None:
    ids = random_ids(rows.engine, length, 77)
    whole = _in_parts(rows, ids, length)
    for cut in cuts:
        parts = _in_parts(rows, ids, cut)
        same = equal(whole, parts)
        section.check(
            f"{name}: {length} tokens as {cut}+{length - cut}",
            same if cut == CHUNK else None,
            equal=same,
            difference=difference(whole, parts),
        )


def _in_parts(rows: Rows, ids: Sequence[int], cut: int) -> Array:
    """Logits [1 + steps, V] after a prompt that is computed in two parts."""
    decoder = rows.decoder(1, len(ids) + 8)
    logits = decoder.prefill(0, ids[:cut])
    if ids[cut:]:
        logits = decoder.prefill(0, ids[cut:])
    return np.concatenate([fetched(logits), rows.step(decoder, [0])[0]])


def _default_attention(setup: Setup, section: Section) -> None:
    """What is not promised by name, for the record."""
    for name in ("demo", "135M"):
        rows = _rows(setup, name, deterministic=False)
        for count in (1, 8, 32):
            same, again = _repeat(rows, list(range(count)), setup.pick(RERUNS, 1))
            section.measure(f"{name}, not deterministic: reruns of {count} rows", reruns=again, equal=same)
        results = rows.run(list(range(8)))
        same = sum(equal(rows.alone(number), result) for number, result in enumerate(results))
        section.measure(f"{name}, not deterministic: in 8 rows as alone", rows=8, equal=same)
