"""What help says of commands, which are not imported for it."""

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the function of its name in the module of its name."""

    summary: str
    """The first paragraph of its help."""
    examples: tuple[str, ...]


COMMANDS = {
    "demo": Entry(
        "Tell a story with the demo model, which comes along.", ("llmb demo", 'llmb demo "The little fox"')
    ),
    "export": Entry(
        "Export a model once; the bundle then runs without torch. Prints the bundle's path.",
        ("llmb export model/model.pt --tokenizer tokenizer/",),
    ),
    "exporter": Entry(
        "Make an environment for exporting alone, in your cache directory, or remove it.",
        ("llmb exporter install",),
    ),
    "generate": Entry("Generate text. `generate MODEL ...` is `generate text MODEL ...`.", ()),
    "chat": Entry(
        "Talk with a model: in the form of its chat template, or in plain lines if it has none.",
        ('llmb chat model --system "You are brief."',),
    ),
    "evaluate": Entry(
        "Measure coherence, fluency, relevance, diversity and repetition, each 0 to 1.",
        ("llmb evaluate story.txt", "llmb evaluate texts.jsonl -m model --json"),
    ),
    "compare": Entry(
        "Write samples with several configurations and say which differences are more than chance.",
        ('llmb compare model -p "Once upon a time" --config temperature=0.5 --config temperature=1',),
    ),
    "info": Entry("Show what a bundle holds and where it came from.", ("llmb info model",)),
    "bench": Entry(
        "Measure a bundle on this machine: loading, prompts, first token, tokens a second, memory.",
        ("llmb bench model --rows 1,8",),
    ),
    "serve": Entry(
        "Serve models to many clients at once, over OpenAI's HTTP API.",
        ("llmb serve model", "llmb serve small=models/small large=models/large --port 8080"),
    ),
    "config": Entry(
        "Show what holds where a command says nothing, and where each value is from.",
        ("llmb config", "llmb config model --json"),
    ),
    "doctor": Entry(
        "Show what a bug report needs: machine, ONNX Runtime, packages, a short self-test. Nothing private.",
        ("llmb doctor",),
    ),
    "verify": Entry("Check a bundle on this machine.", ("llmb verify model",)),
}
"""The commands of ``llmb``; ``generate`` is a group of its own."""
GENERATE = {
    "text": Entry(
        "Continue a prompt. The text streams to stdout as it is generated.",
        (
            'llmb generate model -p "Once upon a time"',
            "llmb generate model --greedy --json < prompt.txt",
            "llmb generate model --interactive",
            'llmb generate model -p "Once upon a time" --mask-profanity --max-repetition 0.3',
            'llmb generate model -p "Tom and Lily look for a ball" --write dialogue --style story',
        ),
    ),
    "batch": Entry(
        "Complete every prompt of a JSONL file, in order. Progress goes to stderr.",
        (
            "llmb generate batch model prompts.jsonl texts.jsonl --seed 1",
            "llmb generate batch model questions.jsonl answers.jsonl --choice yes --choice no",
        ),
    ),
}
"""The commands of ``llmb generate``."""
