"""Lines of prompts, and files of conversations."""

import json
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.changes import changed_value, written
from fuzzing.targets import DifferenceError
from llmbuilder.config import GenerationConfig, one_answer
from llmbuilder.errors import LLMBuilderError
from llmbuilder.files import jsonl
from llmbuilder.sessions.conversation import Saved, load_conversation, save_conversation

_LINES: list[dict[str, Any]] = [
    {"prompt": "Once upon a time", "id": 7, "temperature": 0.7, "max_new_tokens": 20},
    {"prompt": "a", "id": "b", "stop_strings": ["x", "yy"], "do_sample": False, "num_beams": 2},
    {
        "prompt": "",
        "seed": 3,
        "bad_words_ids": [[1, 2]],
        "forced_eos_token_id": 2,
        "logit_bias": [[[1], 1.0]],
    },
    {"prompt": "é", "num_return_sequences": 1, "early_stopping": True, "guidance": None},
]
_TURNS = [{"user": "Hello", "assistant": "Hi."}, {"user": "naïve 🙂", "assistant": ""}]
_CONVERSATIONS: list[Any] = [_TURNS, {"system_prompt": "Be kind.", "conversation": _TURNS}]


class Lines:
    """Lines of a file of prompts, with their options."""

    def __init__(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, random: Random) -> bytes:
        """The bytes of a line."""
        return written(changed_value(random.choice(_LINES), random), random)

    def run(self, made: bytes) -> None:
        """Read it as `jsonl.generate_file` does, merge its options, and write its answer."""
        line = jsonl._parse(made, 1)
        if isinstance(line.result, LLMBuilderError):
            answer = json.dumps(jsonl._record(line.id, line.result), ensure_ascii=False)
            json.loads(answer.encode("utf-8", "backslashreplace"))
            raise line.result
        raw = json.loads(made)
        if raw != {**line.request, **({"id": line.id} if "id" in raw else {})} and raw == raw:  # noqa: PLR0124 (no NaN)
            raise DifferenceError(f"json reads {raw}")
        options = {name: value for name, value in line.request.items() if name != "prompt"}
        one_answer(GenerationConfig.merge(GenerationConfig(), None, options))


class Conversations:
    """Files of conversations."""

    def __init__(self, folder: Path) -> None:
        """Keep them in ``folder``."""
        self._path, self._again = folder / "read.json", folder / "written.json"

    def make(self, random: Random) -> bytes:
        """The bytes of a file."""
        return written(changed_value(random.choice(_CONVERSATIONS), random), random)

    def run(self, made: bytes) -> None:
        """Load it; what it says must be what `json` reads, also after saving."""
        self._path.write_bytes(made)
        saved = load_conversation(self._path)
        raw = json.loads(made)
        raw = {"conversation": raw} if isinstance(raw, list) else raw
        if Saved(raw["conversation"], raw.get("system_prompt")) != saved:
            raise DifferenceError(f"json reads {raw}")
        save_conversation(self._again, saved)
        if load_conversation(self._again) != saved:
            raise DifferenceError("what is saved is read otherwise")
