"""The rules as transformers 4.46.3 computes them. Runs in that package's environment, where ours is not.

    python oracle_logits.py

answers requests on standard input, one JSON object a line, with the processed rows, or what failed, on standard output.

Where equal scores meet a limit, transformers leaves the choice to torch's unstable sort. Ours is that of a stable
sort, so here torch is asked for the same; nothing else is changed.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import transformers
from transformers.generation import GenerationConfig, GenerationMixin, LogitsProcessorList

torch.sort = partial(torch.sort, stable=True)
torch.argsort = partial(torch.argsort, stable=True)

NEUTRAL = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def processors(
    options: dict[str, Any], prompt_ids: torch.Tensor, eos_ids: Sequence[int], *, with_beams: bool
) -> LogitsProcessorList:
    """The list that ``generate`` would build for prompts ``[B, n]``, by the method that defines the order."""
    config = GenerationConfig(**(NEUTRAL | options), num_beams=2 if with_beams else 1)
    config._eos_token_tensor = torch.tensor(eos_ids) if eos_ids else None  # as generate does
    return GenerationMixin()._get_logits_processor(
        generation_config=config,
        input_ids_seq_length=prompt_ids.shape[1],
        encoder_input_ids=prompt_ids,
        prefix_allowed_tokens_fn=None,
        logits_processor=LogitsProcessorList(),
        device="cpu",
    )


def transform(
    rows: torch.Tensor,
    options: dict[str, Any],
    prompt_ids: Sequence[int],
    new_ids: Sequence[int],
    eos_ids: Sequence[int],
    *,
    with_beams: bool,
) -> torch.Tensor:
    """Processed scores ``[B, V]`` of rows ``[B, V]`` that all follow the same tokens."""
    prompt = torch.tensor([list(prompt_ids)] * len(rows))
    ids = torch.tensor([[*prompt_ids, *new_ids]] * len(rows))
    return processors(options, prompt, eos_ids, with_beams=with_beams)(ids, rows)


def main() -> None:
    """Answer requests until standard input ends."""
    if transformers.__version__ != "4.46.3":
        sys.exit(f"The contract is transformers 4.46.3, this is {transformers.__version__}.")
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        request = json.loads(line)
        rows = torch.tensor(request.pop("rows"))
        try:
            result = transform(rows, **request).tolist()
        except ValueError as error:
            result = str(error)  # NaN, where transformers has no answer
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
