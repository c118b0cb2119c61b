"""Make the folder that `scripts/cuda_check.py` needs on a machine with a card and no package index.

Usage: python scripts/cuda_prepare.py            makes .cuda, some 2 MB: bundles without their large weights
       python scripts/cuda_prepare.py --rehearse --output FOLDER     tiny ones, for a rehearsal

The demo's weights are read from its checkpoint there, the others, whose values do not matter, drawn at random. What
that machine lacks besides can lie in `.cuda/wheels` (wheels of Python packages, which `cuda_check.py` unpacks);
onnxruntime-gpu must be importable: from a folder of wheels too, or installed.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Literal

from cudacheck.filling import ROOT, checkpoint_tensors
from cudacheck.shells import make_shell
from cudacheck.sources import CONTEXT, SHAPES, TINY, Network, complete, make_source

from llmbuilder_export import export_model

DEMO = Path("artifacts/storyteller/model.pt")
Device = Literal["cpu", "cuda"]


def main() -> None:
    """Make the demo's two shells and those of the shapes."""
    parser = argparse.ArgumentParser(description="Make the folder for scripts/cuda_check.py.")
    parser.add_argument("--output", type=Path, default=ROOT / ".cuda")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="of the bundles")
    parser.add_argument("--rehearse", action="store_true", help="tiny networks in place of the shapes")
    parser.add_argument("--only", nargs="*", help="names of what to make; others stay as they are")
    parser.add_argument("--work", type=Path, default=None, help="folder for 10 GB of temporary files")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    shapes = TINY if options.rehearse else SHAPES
    for name in options.only or ("demo", "demo-cpu", *shapes):
        start = time.monotonic()
        shutil.rmtree(options.output / name, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            if name in shapes:
                network = complete(shapes[name], CONTEXT[name])
                make_shape(network, options.output / name, Path(work), options.device)
            else:
                make_demo(options.output / name, Path(work), options.device if name == "demo" else "cpu")
        print(
            f"{name}: {time.monotonic() - start:.0f} s, {size(options.output / name) / 1e6:.1f} MB",
            flush=True,
        )
    print(f"{options.output}: {size(options.output) / 1e6:.1f} MB in all")


def make_demo(folder: Path, work: Path, device: Device) -> None:
    """The demo, unquantized."""
    report = export_model(ROOT / DEMO, output=work / "bundle", quantization="none", device=device)
    tensors = checkpoint_tensors(ROOT / DEMO)
    make_shell(report.path, folder, checkpoint=tensors, checkpoint_name=str(DEMO))


def make_shape(network: Network, folder: Path, work: Path, device: Device) -> None:
    """A network with random weights, unquantized."""
    source = make_source(network, work / "source")
    report = export_model(
        source,
        output=work / "bundle",
        quantization="none",
        device=device,
        verify=False,
    )
    make_shell(report.path, folder, network=network)


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
