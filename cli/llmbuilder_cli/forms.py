"""The form that a text must have: arguments of `ConstrainedGenerator` as flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbuilder_cli.flags import Flag

if TYPE_CHECKING:
    from llmbuilder.inference import ConstrainedGenerator, TextGenerator

FORMS = {
    "required_words": Flag("--required", list[str], "The text says these; may be repeated.", metavar="WORDS"),
    "forbidden_words": Flag(
        "--forbidden", list[str], "The text does not say these; may be repeated.", metavar="WORDS"
    ),
    "json_schema": Flag("--json-schema", Path, "The text is JSON of this schema.", metavar="FILE"),
    "grammar": Flag(
        "--grammar", Path, "The text matches this grammar, in the Lark form of llguidance.", metavar="FILE"
    ),
    "regex": Flag("--regex", str, "All of the text matches this regular expression.", metavar="PATTERN"),
    "choices": Flag("--choice", list[str], "The text is one of these; repeat for each.", metavar="TEXT"),
}


def constrained(generator: "TextGenerator", form: Mapping[str, Any]) -> "ConstrainedGenerator":
    """What generates texts of this form; a JSON schema and a grammar are files."""
    from llmbuilder.inference import ConstrainedGenerator

    texts = {
        name: value.read_text("utf-8", "replace") for name, value in form.items() if isinstance(value, Path)
    }
    return ConstrainedGenerator(generator, **{**form, **texts})
