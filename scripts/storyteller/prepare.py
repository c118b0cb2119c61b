"""Clean a corpus of machine-written stories into short, simple ones that have an ending.

    python prepare.py --corpus simple_stories.jsonl stories.jsonl --out stories.txt.gz

The writer of the corpus was cut off after a fixed number of tokens, so most stories stop in the middle. Each is cut
here after the last sentence that can close a story. What is left is one story a line.
"""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from names import mask_names

MIN_WORDS, MAX_WORDS = 40, 160
COMMON = 12  # a word is common when this many stories use it
MAX_RARE = 0.03  # share of a story's words that may be less common
MIN_DISTINCT = 0.72  # different pairs of words over all pairs: less means that the writer was going round in circles
RUN = 16  # a story that shares this many words in a row with an earlier one is a copy

_SENTENCE = re.compile(r".+?[.!?]+\"?(?=\s|$)")
_WORD = re.compile(r"[a-z']+")
_PLAIN = re.compile(r"[A-Za-z0-9 .,!?'\"-]+")
_NARRATOR = re.compile(r"\b(I|I'm|my|me|we|our|us)\b")
_META = re.compile(r"\b(this story|the story of|here's a|moral of|once said|narrator|chapter)\b", re.I)

# Sentences that can end a story, surest first.
_CLOSINGS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"ever after|from that day|the end\b|always (remember|be there|be friends|love)|never (forget|forgot)|best "
        r"friends?|(played|sailed|danced|sang|laughed|together|happy)( all (day|night)( long)?)?[.!]\"?$|learned that|"
        r"went (to sleep|to bed|back home|home)|fell asleep|(was|were|felt|are) (so |very |all )*(happy|proud|glad|"
        r"grateful|safe)|thank(ed)? (you|him|her|them)|made (new|a new|lots of|many) friends?",
        r"smiled|laughed|hugg?(ed)?\b|goodbye|loved|happy|happiness|proud|home[.!]|friends?[.!]",
    )
)


def normalise(text: str) -> str:
    """One line, plain quotes and dashes, single spaces."""
    text = text.translate(str.maketrans({"’": "'", "“": '"', "”": '"', "–": "-", "\n": " "}))
    text = text.replace(" - ", ", ")
    return re.sub(r"\s+", " ", text).strip()


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def close(text: str) -> str | None:
    """`text` up to its best closing sentence, or None when it has none within the allowed lengths."""
    sentences = _SENTENCE.findall(text)
    for closing in _CLOSINGS:
        for end in range(len(sentences), 1, -1):
            story = "".join(sentences[:end]).strip()
            long_enough = MIN_WORDS <= len(words(story)) <= MAX_WORDS
            if long_enough and story.count('"') % 2 == 0 and closing.search(sentences[end - 1]):
                return story
    return None


def is_clean(story: str) -> bool:
    """Whether `story` is told in plain characters by a narrator outside it and does not repeat itself."""
    narration = re.sub(r'"[^"]*"', "", story)
    tokens = words(story)
    pairs = list(zip(tokens, tokens[1:], strict=False))
    sentences = [s.strip() for s in _SENTENCE.findall(story) if len(words(s)) > 3]
    return (
        _PLAIN.fullmatch(story) is not None
        and not re.search(r"\d", story)
        and not _NARRATOR.search(narration)
        and not _META.search(story)
        and len(set(pairs)) >= MIN_DISTINCT * len(pairs)
        and len(set(sentences)) == len(sentences)
    )


def drop_hard(stories: list[str]) -> list[str]:
    """The stories whose words are nearly all common ones."""
    used_by = Counter(word for story in stories for word in set(words(mask_names(story))))

    def is_easy(story: str) -> bool:
        tokens = words(mask_names(story))
        return sum(used_by[word] < COMMON for word in tokens) <= MAX_RARE * len(tokens)

    return [story for story in stories if is_easy(story)]


def drop_copies(stories: list[str]) -> list[str]:
    """The stories that share no long run of words, names aside, with an earlier one."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for story in stories:
        tokens = words(mask_names(story))
        runs = {tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)}
        if runs.isdisjoint(seen):
            kept.append(story)
        seen |= runs
    return kept


def clean(texts: Iterable[str]) -> list[str]:
    """All the steps in order."""
    closed = [story for text in texts if (story := close(normalise(text)))]
    return drop_copies(drop_hard([story for story in closed if is_clean(story)]))


def read_corpus(paths: list[Path]) -> list[str]:
    """The `story` field of every line of the given JSON Lines files."""
    return [json.loads(line)["story"] for path in paths for line in path.read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="JSON Lines files with a `story` field")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("stories.txt.gz"))
    args = parser.parse_args()

    texts = read_corpus(args.corpus)
    stories = clean(texts)
    # No timestamp in the file: the same stories give the same bytes.
    args.out.write_bytes(gzip.compress("".join(f"{story}\n" for story in stories).encode(), 9, mtime=0))
    total = sum(len(words(story)) for story in stories)
    print(f"kept {len(stories)} of {len(texts)} stories, {total} words, {args.out.stat().st_size} bytes compressed")


if __name__ == "__main__":
    main()
