"""Constrained generation on real models: are random constraints met, and what does meeting them cost the text?

Every text is judged by code of its own, which shares nothing with the library: regular expressions for words, a small
validator for JSON schemas. A set of words that raises an error counts as not met.
"""

import json
import math
import random
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common import ROOT, Row, arguments, bundle, report

from llmbuilder.config import GenerationConfig
from llmbuilder.constraints.grammar import GrammarRules
from llmbuilder.constraints.vocabulary import Vocabulary
from llmbuilder.constraints.words import WordRules, Words
from llmbuilder.decoding.prompt import Prompt
from llmbuilder.decoding.strategies import ConstrainedPrompt
from llmbuilder.errors import ConstraintError, LLMBuilderError
from llmbuilder.generator import Completion, TextGenerator

SETS = 300
SCHEMAS = 200
LONG = 150  # new tokens of the texts whose perplexity is measured
DEMO = ROOT / "artifacts" / "storyteller" / "bundle"

FAMILIES = (
    ("learn", "learning", "learned", "learner"),
    ("art", "artist", "artistic"),
    ("he", "her", "here", "heroes"),
    ("sun", "sunny", "sunshine"),
    ("car", "care", "careful", "carefully"),
    ("over", "overall", "overnight"),
    ("in", "inside", "into"),
    ("be", "bear", "bearing", "because"),
)
PHRASES = (
    "machine learning",
    "red ball",
    "once again",
    "ice cream",
    "on the other hand",
    "a big dog",
    "of the",
)
RARE = ("antidisestablishmentarianism", "xylophone", "quizzical", "zigzag", "marmalade", "kaleidoscope")
UNICODE = ("café", "naïve", "Zürich", "straße", "Москва", "日本", "jalapeño", "Ελλάδα")
COMMON = (
    "the",
    "and",
    "was",
    "is",
    "to",
    "a",
    "she",
    "said",
    "of",
    "it",
    "very",
    "happy",
    "day",
    "new",
    "AI",
)
PROMPTS = (
    "Once upon a time",
    "The little girl went to the park",
    "Explain how the weather changes:",
    "My favourite book is",
    "In the morning, Tom",
    "The history of the city begins",
    "Dear friend,\n",
    "There was a dog named",
)


@dataclass(frozen=True)
class WordSet:
    """A random constraint."""

    prompt: str
    required: tuple[str, ...]
    forbidden: tuple[str, ...]
    ordered: bool
    whole: bool
    options: Mapping[str, Any]

    def problems(self, text: str) -> list[str]:
        """What is wrong with a text, by regular expressions."""
        folded = text.casefold()
        found = [[m.span() for m in re.finditer(_source(word), folded)] for word in self.required]
        problems = [f"lacks {w!r}" for w, spans in zip(self.required, found, strict=True) if not spans]
        if self.ordered and not problems:
            end = 0
            for word in self.required:
                match = re.compile(_source(word)).search(folded, end)
                if match is None:
                    problems.append(f"{word!r} is not in its place")
                    break
                end = match.end()
        said = (
            w
            for w in self.forbidden
            if (re.search(_source(w), folded) if self.whole else w.casefold() in folded)
        )
        return problems + [f"says {word!r}" for word in said]

    def possible(self) -> bool:
        """Whether no required word contains a forbidden one."""
        return not any(
            WordSet("", (), self.forbidden, False, self.whole, {}).problems(w) for w in self.required
        )


def _source(word: str) -> str:
    return rf"(?<!\w){re.escape(word.casefold())}(?!\w)"


def word_sets(seed: int, generator: TextGenerator, vocabulary: Vocabulary) -> Iterator[WordSet]:
    """Random sets, half of them with `LONG` budgets and sampled, as many as the vocabulary can say."""
    draw = random.Random(seed)
    pieces = vocabulary.pieces

    def sayable(word: str) -> bool:
        return b"".join(pieces[t] for t in generator.tokenizer.encode("x " + word)).endswith(word.encode())

    pool = [word for group in (*FAMILIES, PHRASES, RARE, UNICODE) for word in group if sayable(word)]
    while True:
        required = tuple(draw.sample(pool, draw.randint(0, 3)))
        family = draw.choice(FAMILIES)
        forbidden = (*draw.sample(COMMON, draw.randint(0, 4)), *draw.sample(family, draw.randint(1, 2)))
        long = draw.random() < 0.5
        needed = sum(len(generator.tokenizer.encode(" " + word)) + 1 for word in required)
        options: dict[str, Any] = {"max_new_tokens": LONG if long else needed + draw.randint(6, 40)}
        options |= {"seed": draw.randrange(10**6)} if draw.random() < 0.6 or long else {"do_sample": False}
        if not long and draw.random() < 0.15:
            options["num_beams"] = 3
        ordered, whole = draw.random() < 0.3, draw.random() < 0.8
        made = WordSet(draw.choice(PROMPTS), required, forbidden, ordered, whole, options)
        if made.possible():
            yield made


def study_words(name: str, generator: TextGenerator, count: int, failures: list[Row]) -> Row:
    """Complete ``count`` sets; perplexities are compared with those of the same prompts and seeds, unconstrained."""
    vocabulary = Vocabulary(generator.tokenizer.pieces())
    source = word_sets(7, generator, vocabulary)
    sets = [next(source) for _ in range(count)]
    started = time.monotonic()
    requests = ((constrained_prompt(s, generator, vocabulary), s.options) for s in sets)
    met, ratios, constrained, free = 0, [], [], []
    results = dict(generator.complete_each(requests, batch_size=16))
    seconds = time.monotonic() - started
    long = [n for n, s in enumerate(sets) if s.options["max_new_tokens"] == LONG and s.required]
    plain = dict(generator.complete_each(((sets[n].prompt, sets[n].options) for n in long), batch_size=16))
    for number, s in enumerate(sets):
        result = results[number]
        problems = (
            [f"raised: {result}"] if isinstance(result, LLMBuilderError) else s.problems(result[0].text)
        )
        met += not problems
        if problems:
            failures.append(
                {"model": name, "set": repr(s), "problems": problems, "result": str(result)[:300]}
            )
    for place, number in enumerate(long):
        result, unconstrained = results[number], plain[place]
        if isinstance(unconstrained, LLMBuilderError):
            raise unconstrained
        if not isinstance(result, LLMBuilderError):
            ours = perplexity(generator, sets[number].prompt, result[0])
            theirs = perplexity(generator, sets[number].prompt, unconstrained[0])
            constrained.append(ours)
            free.append(theirs)
            ratios.append(ours / theirs)
    return {
        "study": "words",
        "model": name,
        "constraints": count,
        "met": met,
        "texts scored": len(ratios),
        "perplexity": round(statistics.median(constrained), 2),
        "unconstrained": round(statistics.median(free), 2),
        "median ratio": round(statistics.median(ratios), 2),
        "seconds": round(seconds),
    }


def constrained_prompt(words: WordSet, generator: TextGenerator, vocabulary: Vocabulary) -> ConstrainedPrompt:
    """A prompt whose text must meet a set of words."""

    def start(prompt: Prompt) -> Words:
        rules = WordRules(
            vocabulary,
            generator.tokenizer.encode,
            required=words.required,
            forbidden=words.forbidden,
            ordered=words.ordered,
            whole=words.whole,
        )
        return rules.start(prompt)

    return ConstrainedPrompt(words.prompt, start)


def perplexity(generator: TextGenerator, prompt: str, completion: Completion) -> float:
    """The model's own perplexity of a continuation."""
    ids = generator.tokenizer.encode(prompt)
    logprobs = generator.score([*ids, *completion.token_ids]).logprobs[len(ids) - 1 :]
    return math.exp(-math.fsum(logprobs) / len(logprobs))


def schema(draw: random.Random, depth: int = 0) -> dict[str, Any]:  # noqa: PLR0911 (one for each kind)
    """A random bounded JSON schema."""
    kinds = ["string", "enum", "integer", "number", "boolean", "const"]
    kind = "object" if depth == 0 else draw.choice([*kinds, "array", "object"] if depth < 3 else kinds)
    if kind == "object":
        names = draw.sample(
            ["name", "age", "city", "kind", "items", "note", "id", "größe"], draw.randint(1, 4)
        )
        return {
            "type": "object",
            "properties": {name: schema(draw, depth + 1) for name in names},
            "required": [name for name in names if draw.random() < 0.8],
            "additionalProperties": False,
        }
    if kind == "array":
        low = draw.randint(0, 2)
        items = schema(draw, depth + 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + draw.randint(0, 2)}
    if kind == "string":
        low = draw.choice([0, 0, 3])
        return {"type": "string", "minLength": low, "maxLength": low + draw.randint(1, 20)}
    if kind == "enum":
        return {"enum": draw.sample(["red", "green", "blue", "very dark grey", 1, 2.5, None, True], 3)}
    if kind == "integer":
        low = draw.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + draw.randint(0, 1000)}
    if kind == "const":
        return {"const": draw.choice(["fixed", 7, None, False])}
    return {"type": kind} if kind == "boolean" else {"type": "number", "minimum": 0, "maximum": 99.5}


def valid(value: Any, s: Mapping[str, Any]) -> bool:  # noqa: PLR0911 (one for each kind)
    """Whether a value is of a schema, for the kinds that `schema` makes."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if "enum" in s:
        return any(type(value) is type(e) and value == e for e in s["enum"])
    if "const" in s:
        return type(value) is type(s["const"]) and bool(value == s["const"])
    if s["type"] == "object":
        return (
            isinstance(value, dict)
            and set(s["required"]) <= set(value) <= set(s["properties"])
            and all(valid(v, s["properties"][k]) for k, v in value.items())
        )
    if s["type"] == "array":
        inside = isinstance(value, list) and s["minItems"] <= len(value) <= s["maxItems"]
        return inside and all(valid(v, s["items"]) for v in value)
    if s["type"] == "string":
        return isinstance(value, str) and s["minLength"] <= len(value) <= s["maxLength"]
    if s["type"] == "boolean":
        return isinstance(value, bool)
    whole = s["type"] == "number" or isinstance(value, int)
    return number and whole and s["minimum"] <= value <= s["maximum"]


def study_schemas(name: str, generator: TextGenerator, count: int, failures: list[Row]) -> Row:
    """Complete ``count`` schemas with budgets from just enough up, and each with too small a one."""
    vocabulary = Vocabulary(generator.tokenizer.pieces())
    draw = random.Random(11)
    schemas = [schema(draw) for _ in range(count)]
    started = time.monotonic()
    requests = []
    for s in schemas:
        rules = GrammarRules(vocabulary, "json_schema", s)
        needed = shortest(rules, generator)
        seed = {"seed": draw.randrange(10**6)} if draw.random() < 0.7 else {"do_sample": False}
        prompt = ConstrainedPrompt(f"JSON about {draw.choice(PROMPTS)}\n", rules.start)
        requests.append((prompt, {"max_new_tokens": needed + draw.randint(0, 60), **seed}))
        requests.append((prompt, {"max_new_tokens": max(1, needed // 2), **seed}))
    results = dict(generator.complete_each(requests, batch_size=16))
    good = refused = 0
    for number, s in enumerate(schemas):
        enough, small = results[2 * number], results[2 * number + 1]
        right = isinstance(enough, list) and judged(enough[0].text, s)
        good += right
        # A text that fits where none was expected to is no failure, as long as it is whole.
        refused += isinstance(small, ConstraintError) or (
            isinstance(small, list) and judged(small[0].text, s)
        )
        if not right:
            failures.append({"model": name, "schema": s, "result": str(enough)[:300]})
    return {
        "study": "JSON schemas",
        "model": name,
        "constraints": count,
        "met": good,
        "too small a budget: refused": refused,
        "seconds": round(time.monotonic() - started),
    }


def shortest(rules: GrammarRules, generator: TextGenerator) -> int:
    """Tokens of the shortest text that the library finds, so that budgets can begin there."""
    eos = generator.engine.eos_token_ids
    config = GenerationConfig()
    low, high = 0, 1024  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        try:
            rules.start(Prompt((0,), "", config, eos, 8192, middle))
            high = middle
        except ConstraintError:
            low = middle
    return high


def judged(text: str, s: Mapping[str, Any]) -> bool:
    """Whether a text is JSON of a schema."""
    try:
        return valid(json.loads(text), s)
    except json.JSONDecodeError:
        return False


def main() -> None:
    """Study both models."""
    options = arguments(__doc__ or "")
    failures: list[Row] = []
    smollm2 = TextGenerator(bundle(options.models, "int8"))
    studies = (
        (study_words, "demo", TextGenerator(DEMO), SETS),
        (study_schemas, "SmolLM2 int8", smollm2, SCHEMAS),
        (study_words, "SmolLM2 int8", smollm2, SETS),
    )
    rows: list[Row] = []
    for study, model, generator, count in studies:
        rows.append(study(model, generator, count, failures))
        keys = dict.fromkeys(key for row in rows for key in row)
        report("constraints", [{key: row.get(key, "") for key in keys} for row in rows], options.results)
    for failure in failures:
        print(json.dumps(failure, ensure_ascii=False))


if __name__ == "__main__":
    main()
