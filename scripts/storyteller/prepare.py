"""Clean a corpus of machine-written stories, and find where each could have ended.

    python prepare.py --corpus simple_stories.jsonl stories.jsonl

The writer of the corpus was cut off after a fixed number of tokens, so nearly all its stories stop in the
middle. Yet many pass a sentence that could have closed them. The result has one story a line: the part up to
such a sentence, a tab, and the rest. A story that is hard to read or has no ending has an empty first part:
it still teaches the language.
"""

import argparse
import json
import lzma
import re
from collections import Counter
from pathlib import Path

from names import mask_names
from story_metrics import distinct_2, words

WORDS = range(40, 131)  # length of a story with an ending; the longest fits a window of 256 tokens
COMMON = 15  # a word is easy when this many texts use it
MAX_HARD = 0.08  # share of a story's words that may be harder
MIN_DISTINCT = 0.65  # different pairs of words over all pairs; less means going round in circles
RUN = 16  # a text that shares this many words in a row with an earlier one, names aside, is a copy

_PLAINER = str.maketrans(
    {"\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", ":": ",", ";": ",", "\n": " "}
)
_SENTENCE = re.compile(r".+?[.!?]+\"?(?=\s|$)")
_PLAIN = re.compile(r"[A-Za-z .,!?'\"-]+")
_NARRATOR = re.compile(r"\b(I|I'm|my|me|we|our|us)\b")
_ASIDE = re.compile(r"\b(this story|story of|here's a|moral|narrator|chapter)\b", re.IGNORECASE)

# Sentences that can end a story: surely, or at a pinch.
_SURE = re.compile(
    r"ever after|from that day|always (remember|be there|be friends|love)|never (forget|forgot)|learned that"
    r"|(played|sailed|danced|sang|laughed|together|happy|friends)"
    r"( (all (day|night)( long)?|forever))?[.!]\"?$"
    r"|went (to sleep|to bed|back home|home)|fell asleep|thank(ed)? (you|him|her|them)"
    r"|made (new|a new|many) friends?"
    r"|(was|were|felt|are) (so |very |all |really )*(happy|proud|glad|grateful|safe)",
    re.IGNORECASE,
)
_MAYBE = re.compile(
    r"smiled|laughed|hugg?(ed)?\b|goodbye|loved (him|her|it|them|each)|happy|happiness|proud",
    re.IGNORECASE,
)
_OPENING = re.compile(r"\s*(But|One day|However|Then one)\b")


def normalise(text: str) -> str:
    """One line, only the commonest punctuation, single spaces."""
    text = text.translate(_PLAINER)
    return re.sub(r"\s+", " ", text.replace(" - ", ", ")).strip()


def is_usable(text: str) -> bool:
    """Whether `text` is in plain characters, told from outside, and does not go round in circles."""
    narration = re.sub(r'"[^"]*"', "", text)
    return (
        _PLAIN.fullmatch(text) is not None
        and not _NARRATOR.search(narration)
        and not _ASIDE.search(text)
        and distinct_2([words(text)]) >= MIN_DISTINCT
    )


def find_ending(text: str) -> int:
    """Where the last sentence that can close `text` ends, 0 for nowhere."""
    endings = {_SURE: 0, _MAYBE: 0}
    for match in _SENTENCE.finditer(text):
        story, sentence = text[: match.end()], match.group()
        if len(words(story)) in WORDS and story.count('"') % 2 == 0 and not _OPENING.match(sentence):
            endings.update({kind: match.end() for kind in endings if kind.search(sentence)})
    return endings[_SURE] or endings[_MAYBE]


def is_told_well(story: str) -> bool:
    """Whether no sentence of `story` comes twice, and it hardly repeats itself otherwise."""
    sentences = [s.strip() for s in _SENTENCE.findall(story) if len(words(s)) > 3]
    return len(set(sentences)) == len(sentences) and distinct_2([words(story)]) > MIN_DISTINCT + 0.1


def drop_copies(texts: list[str]) -> list[str]:
    """The texts that share no long run of words, names aside, with an earlier one."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for text in texts:
        tokens = words(mask_names(text))
        runs = {tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)}
        if runs.isdisjoint(seen):
            kept.append(text)
        seen |= runs
    return kept


def split_stories(texts: list[str]) -> list[tuple[str, str]]:
    """Each text as (a story with an ending that is easy to read, or nothing; the rest)."""
    used_by = Counter(word for text in texts for word in set(words(mask_names(text))))

    def is_easy(story: str) -> bool:
        tokens = words(mask_names(story))
        return sum(used_by[word] < COMMON for word in tokens) <= MAX_HARD * len(tokens)

    def split(text: str) -> tuple[str, str]:
        end = find_ending(text)
        story = text[:end]
        return (story, text[end:].strip()) if end and is_easy(story) and is_told_well(story) else ("", text)

    return [split(text) for text in texts]


def read_corpus(paths: list[Path]) -> list[str]:
    """The stories in JSON Lines files."""
    return [json.loads(line)["story"] for path in paths for line in path.read_text("utf-8").splitlines()]


def main() -> None:
    """Read the corpus, write the stories, say how many there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, nargs="+", required=True, help="JSON Lines with a `story` field"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("stories.tsv.xz"))
    args = parser.parse_args()

    texts = read_corpus(args.corpus)
    stories = split_stories(drop_copies([text for text in map(normalise, texts) if is_usable(text)]))
    lines = "".join(f"{story}\t{rest}\n" for story, rest in stories)
    args.out.write_bytes(lzma.compress(lines.encode(), preset=9))

    ended = [story for story, _ in stories if story]
    print(f"{len(texts)} texts, {len(stories)} usable with {len(words(lines))} words")
    print(f"{len(ended)} of them have an ending: {sum(map(len, map(words, ended)))} words")
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
