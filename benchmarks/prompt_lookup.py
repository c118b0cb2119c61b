"""What prompt-lookup speculation gains where a text repeats its prompt: an edit of code, an extraction.

Usage: python benchmarks/prompt_lookup.py    after `make smollm2`; writes benchmarks/results/prompt_lookup.json
"""

from functools import partial
from pathlib import Path
from statistics import median

from common import QUANTIZATIONS, Row, arguments, bundle, ratio, report, take_turns

from llmbuilder import TextGenerator

TOKENS = 80
DRAFT = 8
CODE = '''def area(width, height):
    """Return the area of a rectangle."""
    if width < 0 or height < 0:
        raise ValueError("width and height must not be negative")
    return width * height


def perimeter(width, height):
    """Return the perimeter of a rectangle."""
    if width < 0 or height < 0:
        raise ValueError("width and height must not be negative")
    return 2 * (width + height)
'''
NOTICE = (
    "The library opens at nine on Monday, Tuesday and Thursday. On Friday it opens at noon. "
    "Books may be kept for three weeks and renewed twice, unless somebody else has asked for them. "
    "Whoever loses a book pays for a new copy. Children under twelve need a card signed by a parent."
)
TASKS = {
    "code edit": f"# Version 1\n\n{CODE}\n\n# Version 2: the same code, but with the functions named rectangle_area"
    ' and rectangle_perimeter\n\ndef rectangle_area(width, height):\n    """Return the',
    "extraction": f"Text: {NOTICE}\n\nThe text, copied word for word: The library opens at",
}


def main() -> None:
    """Measure each quantization."""
    options = arguments("What prompt-lookup speculation gains.")
    rows: list[Row] = []
    for quantization in QUANTIZATIONS:
        rows += measure(bundle(options.models, quantization), quantization, options.rounds)
    report("prompt_lookup", rows, options.results)


def measure(directory: Path, quantization: str, rounds: int) -> list[Row]:
    """Tokens per second of greedy decoding with and without speculation, for each task."""
    rows: list[Row] = []
    with TextGenerator(directory) as generator:
        for task, prompt in TASKS.items():
            contestants = {
                "plain": partial(speed, generator, prompt, None),
                "lookup": partial(speed, generator, prompt, DRAFT),
            }
            found = take_turns(contestants, rounds)
            rows.append(
                {
                    "quantization": quantization,
                    "task": task,
                    "tokens/s": median(found["plain"]),
                    "tokens/s with lookup": median(found["lookup"]),
                    "gain": ratio(found["lookup"], found["plain"]),
                }
            )
    return rows


def speed(generator: TextGenerator, prompt: str, draft: int | None) -> float:
    """Tokens per second, without the prompt's."""
    (completion,) = generator.complete(
        prompt, do_sample=False, early_stopping=False, max_new_tokens=TOKENS, prompt_lookup_num_tokens=draft
    )
    return completion.tokens_per_second


if __name__ == "__main__":
    main()
