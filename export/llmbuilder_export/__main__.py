"""``python -m llmbuilder_export SOURCE``: how the runtime starts an export in a process of its own."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llmbuilder.errors import LLMBuilderError
from llmbuilder.showing import write_aside
from llmbuilder.signals import end_on
from llmbuilder_export.bar import Bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the arguments say; return 0, or 1 after an error told in one line.

    A signal to stop exits with 128 + its number.
    """
    options = vars(_parser().parse_args(arguments))
    source = Path(options.pop("source"))
    if not source.exists():  # found before PyTorch is loaded
        return _fail(f"There is no model at {source}. Check the path.")
    end_on("SIGINT", "SIGTERM", "SIGHUP")
    try:
        from llmbuilder_export import export_model

        with Bar() as bar:
            export_model(source, **options, progress=bar.say, advance=bar.advance)
    except ImportError as error:
        from llmbuilder.distribution import install_line

        return _fail(f"{error}. Run: {install_line('export')}")
    except (LLMBuilderError, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    write_aside(f"error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmbuilder_export", description="Export a model as a bundle.")
    parser.add_argument("source", help="LLMBuilder checkpoint, Hugging Face directory or GGUF file")
    parser.add_argument("-t", "--tokenizer", help="tokenizer file or directory")
    parser.add_argument("-o", "--output", help="directory of the bundle")
    parser.add_argument("--quantize", dest="quantization", choices=("none", "int8", "int4", "w8a8"))
    parser.add_argument(
        "--kv-cache", choices=("float32", "int8"), default="float32", help="precision of the KV cache"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what is to run it")
    parser.add_argument("--adapter", help="directory of a LoRA adapter to merge into the model")
    parser.add_argument("--max-context", type=int, help="most tokens of the window")
    parser.add_argument("--config", help="JSON file with the model's configuration")
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    parser.add_argument("--overwrite", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
