"""Train the demo model "storyteller" with LLMBuilder 2.0.0: its tokenizer, model, trainer and checkpoint.

    PYTHONPATH=<folder with upstream's llmbuilder 2.0.0> python train.py --out artifacts/storyteller

Two stages share one model: first the language, from all the text; then the task, from the stories with an
ending. What this script adds to upstream is only the data set: windows that begin with a story, and <eos>
after every story. A prompt is encoded without <bos> when generating, so there is none here either.
"""

import argparse
import json
import lzma
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from names import swap_names
from sentencepiece import SentencePieceProcessor

import llmbuilder
from llmbuilder.config import ModelConfig, TokenizerConfig, TrainingConfig
from llmbuilder.model import build_model, load_model, save_model
from llmbuilder.tokenizer import TokenizerTrainer
from llmbuilder.training.train import Trainer

VOCABULARY = 2000
WINDOW = 256
MODEL = {"embedding_dim": 256, "num_layers": 4, "num_heads": 4}
HELD_OUT = 64  # stories with an ending that are kept for validation


@dataclass
class Stage(TrainingConfig):
    """Upstream's settings for one stage.

    The trainer reads `scheduler_type`, which its own configuration lacks. Its cosine schedule fails (it is
    made before the number of steps is known), so the rate rises and falls linearly.
    """

    scheduler_type: str = "linear"
    batch_size: int = 8
    weight_decay: float = 0.1
    beta2: float = 0.98
    save_every: int = 1000


def stages(scale: float) -> list[tuple[str, Stage]]:
    """The two stages; `scale` shortens them for a trial."""
    epochs = [max(1, round(scale * n)) for n in (14, 6)]
    return [
        ("language", Stage(num_epochs=epochs[0], learning_rate=2e-3, warmup_steps=100)),
        ("endings", Stage(num_epochs=epochs[1], learning_rate=5e-4, warmup_steps=50)),
    ]


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Window i begins with text i; others follow until it is full, each closed by <eos>.

    For training the followers are drawn at random and the names swapped at every reading.
    """

    def __init__(self, texts: list[str], tokenizer: SentencePieceProcessor, varied: bool) -> None:
        self.texts, self.tokenizer, self.varied = texts, tokenizer, varied

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids: list[int] = []
        while len(ids) <= WINDOW:
            text = swap_names(self.texts[index]) if self.varied else self.texts[index]
            ids += [*self.tokenizer.encode(text), self.tokenizer.eos_id()]
            index = random.randrange(len(self)) if self.varied else (index + 1) % len(self)  # noqa: S311
        window = torch.tensor(ids[: WINDOW + 1])
        return {"input_ids": window[:-1], "labels": window[1:]}


def read_stories(path: Path) -> tuple[list[str], list[str], list[str]]:
    """All training text, the stories with an ending among it, and the held-out stories."""
    pairs = [line.split("\t") for line in lzma.decompress(path.read_bytes()).decode().splitlines()]
    random.shuffle(pairs)
    ended = [pair for pair in pairs if pair[0]]
    held_out, ended = ended[:HELD_OUT], ended[HELD_OUT:]
    unfinished = [rest for story, rest in pairs if not story]
    language = unfinished + [f"{story} {rest}".strip() for story, rest in ended]
    return language, [story for story, _ in ended], [story for story, _ in held_out]


def train_tokenizer(texts: list[str], folder: Path) -> SentencePieceProcessor:
    """SentencePiece through upstream; letter case is kept, unlike upstream's default."""
    config = TokenizerConfig(VOCABULARY, character_coverage=1.0, normalization_rule_name="nmt_nfkc")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(texts))
        file.flush()
        result = TokenizerTrainer(config).train(file.name, folder)
    return SentencePieceProcessor(model_file=result["model_file"])


def train_stage(
    model: torch.nn.Module, config: Stage, train: Windows, valid: Windows, folder: Path
) -> dict[str, Any]:
    """Run one stage with upstream's trainer and leave the best weights of it in `model`."""
    trainer = Trainer(model=model, config=config)
    result = trainer.train(train, valid, folder)
    # The trainer logs a failed step and goes on; a model with steps missing is not what this script promises.
    failed = trainer.state.total_steps - result["total_steps"]
    if failed:
        raise RuntimeError(f"{failed} training steps failed, see the log")
    model.load_state_dict(load_model(folder / "best_checkpoint.pt").state_dict())
    return result


def main() -> None:
    """Train and save; the report of the training goes beside the model."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stories", type=Path, default=here / "stories.tsv.xz", help="what prepare.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.pt and tokenizer/")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: a temporary one)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the epochs to train, for a trial")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    work = args.work or Path(tempfile.mkdtemp(prefix="storyteller-"))

    language, ended, held_out = read_stories(args.stories)
    tokenizer = train_tokenizer(language, args.out / "tokenizer")
    model = build_model(ModelConfig(vocab_size=VOCABULARY, max_seq_length=WINDOW, dropout=0.1, **MODEL))
    valid = Windows(held_out, tokenizer, varied=False)

    started, cpu_started = time.monotonic(), time.process_time()
    report: dict[str, Any] = {"llmbuilder": llmbuilder.__version__, "torch": torch.__version__}
    report |= {"seed": args.seed, "threads": args.threads}
    for (name, config), texts in zip(stages(args.scale), (language, ended), strict=True):
        result = train_stage(model, config, Windows(texts, tokenizer, varied=True), valid, work / name)
        losses = [round(epoch["val_loss"], 3) for epoch in result["metrics_history"]]
        report[name] = {"texts": len(texts), "steps": result["total_steps"], "validation_loss": losses}
    report["minutes"] = round((time.monotonic() - started) / 60, 1)
    report["cpu_minutes"] = round(
        (time.process_time() - cpu_started) / 60, 1
    )  # of all threads; sees no waiting

    save_model(model, args.out / "model.pt")
    (args.out / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
