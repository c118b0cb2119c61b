"""The peers of ``sampler.py``, each in its own environment: transformers' processors, llama.cpp's sampler chain.

``python sampler_peers.py transformers|llamacpp`` answers requests, one JSON object a line. The first names the file
of logits; transformers fills it from a model. Every other one is timed: ``{"options": ..., "batch": ...}``.
"""

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Step = Callable[[Rows], object]

PROMPT_TOKENS, NEW_TOKENS = 512, 128
SECONDS, FEWEST = 0.5, 5
TEXT = """The lighthouse keeper climbed the stairs every evening, carrying a small lamp and a loaf of bread. From the
top he could see the harbour, the fishing boats and, on clear days, the mountains behind the bay. def area(width,
height): return width * height. The capital of France is Paris, and the capital of Japan is"""


def median_microseconds(step: Step, rows: Rows, batch: int) -> float:
    """Median time per row of a step on batches ``[batch, V]`` taken in turn from rows ``[R, V]``."""
    batches = [rows[start : start + batch] for start in range(0, len(rows) - batch + 1, batch)]
    step(batches[0])
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(taken) < FEWEST or time.perf_counter() < end:
        current = batches[len(taken) % len(batches)]
        start = time.perf_counter()
        step(current)
        taken.append((time.perf_counter() - start) / batch)
    return statistics.median(taken) * 1e6


def history(vocab_size: int) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of a continuation, some of them repeated."""
    ids = [(i * i * 31 + i) % vocab_size % 5_000 for i in range(PROMPT_TOKENS + NEW_TOKENS)]
    return ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS:]


def transformers_timings(options: dict[str, Any], rows: Rows, batch: int) -> dict[str, float]:
    """Microseconds a row of the processors alone, and of everything up to the token."""
    import torch
    from transformers.generation import GenerationConfig, GenerationMixin, LogitsProcessorList

    prompt, new = history(rows.shape[1])
    config = GenerationConfig(**{"do_sample": True, "top_k": None} | options)
    config._eos_token_tensor = torch.tensor([0])  # noqa: SLF001 as generate does
    prompts = torch.tensor([prompt] * batch)
    ids = torch.tensor([[*prompt, *new]] * batch)
    process = GenerationMixin()._get_logits_processor(  # noqa: SLF001 as generate does
        config, prompts.shape[1], prompts, None, LogitsProcessorList(), device="cpu"
    )

    def processed(part: Rows) -> torch.Tensor:
        scores: torch.Tensor = process(ids, torch.from_numpy(part))
        return scores

    def token(part: Rows) -> torch.Tensor:
        scores = processed(part)
        if config.do_sample:
            return torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1)
        return torch.argmax(scores, dim=-1)

    return {
        "transformers_processors": median_microseconds(processed, rows, batch),
        "transformers": median_microseconds(token, rows, batch),
    }


def llamacpp_timings(options: dict[str, Any], rows: Rows, batch: int) -> dict[str, float]:
    """Microseconds a row of the sampler chain, the candidate array included; nothing for options it does not have."""
    import llama_cpp

    vocab_size = rows.shape[1]
    chain = llamacpp_chain(options, vocab_size)
    if chain is None:
        return {}
    ids = np.arange(vocab_size, dtype=np.int32)
    candidates = np.zeros(vocab_size, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    pointer = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))

    def token(part: Rows) -> int:
        for row in part:
            candidates["id"], candidates["logit"] = ids, row
            array = llama_cpp.llama_token_data_array(pointer, vocab_size, -1, False)
            llama_cpp.llama_sampler_apply(chain, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    taken = median_microseconds(token, rows, batch)
    llama_cpp.llama_sampler_free(chain)
    return {"llamacpp": taken}


def llamacpp_chain(options: dict[str, Any], vocab_size: int) -> Any:
    """A chain of the options in our order that has seen the history; None if it lacks one of them."""
    import llama_cpp as lib

    prompt, new = history(vocab_size)
    seen = [*prompt, *new]
    stages: dict[str, Callable[[Any], Any]] = {
        "repetition_penalty": lambda r: lib.llama_sampler_init_penalties(vocab_size, len(seen), r, 0.0, 0.0),
        "temperature": lib.llama_sampler_init_temp,
        "top_k": lib.llama_sampler_init_top_k,
        "top_p": lambda p: lib.llama_sampler_init_top_p(p, 1),
        "min_p": lambda p: lib.llama_sampler_init_min_p(p, 1),
        "typical_p": lambda p: lib.llama_sampler_init_typical(p, 1),
        "do_sample": lambda draw: lib.llama_sampler_init_dist(1) if draw else lib.llama_sampler_init_greedy(),
    }
    if not options.keys() <= stages.keys():
        return None
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for name, make in stages.items():
        if name in options or name == "do_sample":
            lib.llama_sampler_chain_add(chain, make(options.get(name, True)))
    for token_id in seen:
        lib.llama_sampler_accept(chain, token_id)
    return chain


def write_logits(model: str, rows: int, path: Path) -> None:
    """Logits ``[rows, V]`` of a Hugging Face directory's model on a text of prose, code and facts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(TEXT, return_tensors="pt").input_ids
    network = AutoModelForCausalLM.from_pretrained(model, torch_dtype=torch.float32)
    with torch.inference_mode():
        np.save(path, network(ids).logits[0, :rows].numpy())


def main() -> None:
    """Answer requests until standard input ends."""
    peer = sys.argv[1]
    if peer == "transformers":
        import torch
        import transformers

        torch.set_num_threads(2)
        transformers.logging.set_verbosity_error()
        version = f"transformers {transformers.__version__}, torch {torch.__version__}, 2 threads"
        timings = transformers_timings
    else:
        import llama_cpp

        version = f"llama-cpp-python {llama_cpp.__version__}"
        timings = llamacpp_timings
    first = json.loads(sys.stdin.readline())
    path = Path(first["path"])
    if peer == "transformers":
        write_logits(first["model"], first["rows"], path)
    rows = np.load(path)
    print(json.dumps(version), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(timings(request["options"], rows, request["batch"])), flush=True)


if __name__ == "__main__":
    main()
