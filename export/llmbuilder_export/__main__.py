"""``python -m llmbuilder_export SOURCE``: how the runtime starts an export in a process of its own."""

import argparse
import signal
import sys
from collections.abc import Sequence

from llmbuilder.errors import LLMBuilderError


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the arguments say; return 0, or 1 after an error told in one line.

    A signal to stop exits with 128 + its number.
    """
    options = vars(_parser().parse_args(arguments))
    for number in _signals():
        signal.signal(number, _end)
    try:
        from llmbuilder_export import export_model

        export_model(options.pop("source"), **options)
    except ImportError as error:
        return _fail(f'{error}. Exporting needs: pip install "llmbuilder-runtime[export,cpu]"')
    except (LLMBuilderError, OSError) as error:
        return _fail(str(error))
    return 0


def _signals() -> list[int]:
    """Signals that tell to stop; not those that this process was started to ignore, as with nohup."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _end(number: int, _: object) -> None:
    """End like an interrupt, so that temporary files are removed, and let no second signal disturb that."""
    for other in _signals():
        signal.signal(other, lambda *_: None)  # SIG_IGN would have Python tell of one that is on its way
    sys.exit(128 + number)


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmbuilder_export", description="Export a model as a bundle.")
    parser.add_argument("source", help="LLMBuilder checkpoint or Hugging Face directory")
    parser.add_argument("-t", "--tokenizer", help="tokenizer file or directory")
    parser.add_argument("-o", "--output", help="directory of the bundle")
    parser.add_argument("--quantize", dest="quantization", choices=("none", "int8", "int4"), default="int8")
    parser.add_argument(
        "--kv-cache", choices=("float32", "int8"), default="float32", help="this release: float32 only"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="this release: cpu only")
    parser.add_argument("--max-context", type=int, help="most tokens of the window")
    parser.add_argument("--config", help="JSON file with the model's configuration")
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    parser.add_argument("--overwrite", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
