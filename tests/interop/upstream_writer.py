"""Write checkpoints with a real LLMBuilder release, and what its own model answers.

Usage: PYTHONPATH=<folder of the release> python upstream_writer.py OUTPUT CASES

CASES is a JSON list of the fields of `upstream_cases.Case`. For each case OUTPUT/<case> gets

- ``model.pt``, saved by upstream's own code, and ``config.json`` for checkpoints that do not hold the number of heads;
- ``expected.npz``: for prompts of several lengths the ids (``prompt_<n>``), upstream's logits [n, V] of every
  position (``logits_<n>``) and the ids of its own greedy continuation (``greedy_<n>``);
- ``tokenizer/tokenizer.model``, of as many pieces as the model has ids;
- ``texts.json``, where upstream can load what it saved: prompts and its own greedy text of each, prompt included.

Upstream's import name is that of this project: neither may be on the path of the other.
"""

import json
import logging
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from upstream_cases import NEW_TOKENS, Case

SPREAD = 0.25
"""Added to the fresh weights (0.02), so that the likeliest token depends on the text."""
LORA_SPREAD = 0.08
"""The same for fine-tuned weights: the product of two LoRA matrices is scaled up, and with much larger ones attention
becomes so sharp that float32 logits of any program are 1e-3 away from float64's."""


def main() -> None:
    output = Path(sys.argv[1]).resolve()
    for fields in json.loads(sys.argv[2]):
        case = Case(**fields)
        folder = output / str(case)
        torch.manual_seed(case.seed)
        train_tokenizer(folder / "tokenizer", case.vocab_size)
        model = WRITERS[case.writer](case, folder)
        np.savez(folder / "expected.npz", **expectations(model.eval(), case))
        if case.writer in ("save_model", "trainer"):
            (folder / "texts.json").write_text(json.dumps(texts(folder)), encoding="utf-8")


def expectations(model: torch.nn.Module, case: Case) -> dict[str, np.ndarray]:
    found = {}
    for length in case.prompt_lengths:
        prompt = torch.randint(case.vocab_size, (1, length))
        with torch.no_grad():
            logits, _ = model(prompt)
        # One candidate is left to draw from: this is upstream's loop with greedy decoding.
        greedy = model.generate(prompt, max_new_tokens=NEW_TOKENS, top_k=1)
        found[f"prompt_{length}"] = prompt[0].numpy()
        found[f"logits_{length}"] = logits[0].numpy()
        found[f"greedy_{length}"] = greedy[0, length:].numpy()
    return found


def texts(folder: Path) -> dict[str, str]:
    from llmbuilder.inference import TextGenerator

    generator = TextGenerator(folder / "model.pt", folder / "tokenizer", device="cpu")
    return {
        prompt: generator.generate(prompt, do_sample=False, max_new_tokens=NEW_TOKENS)
        for prompt in ("bado lemi", "ku", "tiruvo sapeli nu fame")
    }


def train_tokenizer(folder: Path, vocab_size: int) -> None:
    """Special ids are those of upstream's tokenizers, the language is made up of syllables."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstv" for vowel in "aeiou"]
    words = ["".join(random.choice(syllables, random.integers(1, 5))) for _ in range(4000)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(words[start : start + 10]) for start in range(0, len(words), 10)),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=vocab_size,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )


def spread(model: torch.nn.Module, amount: float = SPREAD) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=amount)
    return model


def train_one_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, case: Case) -> None:
    """Fill the optimizer's state, which checkpoints carry along."""
    ids = torch.randint(case.vocab_size, (2, case.window))
    _, loss = model(ids, ids)
    loss.backward()
    optimizer.step()


def build(case: Case) -> torch.nn.Module:
    from llmbuilder.config import ModelConfig
    from llmbuilder.model import build_model

    config = ModelConfig(
        vocab_size=case.vocab_size,
        num_layers=case.layers,
        num_heads=case.heads,
        embedding_dim=case.width,
        max_seq_length=case.window,
    )
    return spread(build_model(config))


def write_model(case: Case, folder: Path) -> torch.nn.Module:
    from llmbuilder.model import save_model

    model = build(case)
    save_model(model, folder / "model.pt")
    return model


def write_training(case: Case, folder: Path) -> torch.nn.Module:
    from llmbuilder.training import Trainer

    trainer = Trainer(build(case))
    trainer.setup_model()
    trainer.setup_optimizer()
    train_one_step(trainer.model, trainer.optimizer, case)
    shutil.copy(trainer.save_checkpoint(folder / "checkpoints"), folder / "model.pt")
    return trainer.model


def write_finetuning(case: Case, folder: Path, *, lora: bool = False) -> torch.nn.Module:
    from llmbuilder.finetune import FineTuner, FineTuningConfig

    tuner = FineTuner(build(case), FineTuningConfig(use_lora=lora, lora_rank=4))
    tuner.setup_model_for_finetuning()
    spread(tuner.model, LORA_SPREAD)  # fresh LoRA layers change nothing
    tuner.setup_optimizer()
    train_one_step(tuner.model, tuner.optimizer, case)
    tuner._save_finetune_checkpoint(folder / "checkpoints", 1, 0.0, 0.0, is_best=True)
    shutil.copy(folder / "checkpoints" / "best_finetune_checkpoint.pt", folder / "model.pt")
    (folder / "config.json").write_text(json.dumps({"num_heads": case.heads}), encoding="utf-8")
    return tuner.model


def write_lora(case: Case, folder: Path) -> torch.nn.Module:
    return write_finetuning(case, folder, lora=True)


def write_v1_training(case: Case, folder: Path) -> torch.nn.Module:
    make_v1_importable()
    from llmbuilder.core.training.train import Trainer

    model = {
        "vocab_size": case.vocab_size,
        "num_layers": case.layers,
        "num_heads": case.heads,
        "embedding_dim": case.width,
        "max_seq_length": case.window,
    }
    training = {"batch_size": 2, "learning_rate": 1e-3, "num_epochs": 1}
    paths = {"checkpoint_dir": str(folder / "checkpoints")}
    config = folder / "training.json"
    config.write_text(json.dumps({"model": model, "training": training, "paths": paths}), encoding="utf-8")
    os.chdir(folder)  # it writes its logs to the working directory
    trainer = Trainer(str(config))
    trainer.setup_model()
    spread(trainer.model)
    train_one_step(trainer.model, trainer.optimizer, case)
    trainer.save_checkpoint()
    shutil.copy(folder / "checkpoints" / "latest_checkpoint.pt", folder / "model.pt")
    return trainer.model


def make_v1_importable() -> None:
    """Stand in for what keeps the 1.0.3 wheel from being imported; its model and trainer are used as they are.

    Its ``lazy_imports`` is not valid Python, its training package imports every tool it has, and its logging library
    has no part in training.
    """
    if "loguru" in sys.modules:
        return
    import llmbuilder

    root = Path(llmbuilder.__file__).parent
    lazy = types.ModuleType("llmbuilder.utils.lazy_imports")
    lazy.torch, lazy.numpy, lazy.requires_torch = torch, np, lambda function: function
    packages = [types.ModuleType(f"llmbuilder.{name}") for name in ("utils", "core.training")]
    for package, folder in zip(packages, ("utils", "core/training"), strict=True):
        package.__path__ = [str(root / folder)]
    loguru = types.ModuleType("loguru")
    loguru.logger = logging.getLogger("loguru")
    loguru.logger.add = loguru.logger.remove = lambda *_, **__: None
    for module in (lazy, *packages, loguru):
        sys.modules[module.__name__] = module


WRITERS = {
    "save_model": write_model,
    "trainer": write_training,
    "finetuner": write_finetuning,
    "lora": write_lora,
    "v1-trainer": write_v1_training,
}

if __name__ == "__main__":
    main()
