"""Prove and measure the CUDA runtime on a machine with a card, in less than six minutes and without a package index.

Usage: python scripts/cuda_check.py --models .cuda --output cuda.json    with what `scripts/cuda_prepare.py` made
       python scripts/cuda_check.py --models FOLDER --rehearse           the same on the CPU, with tiny shapes

The machine needs torch and transformers to compare with, onnx, and what the package itself needs; onnxruntime-gpu from
a folder of wheels or installed. Wheels in the models' folder `wheels` are unpacked and used. Each section is a program
of its own with a limit of time; results are written after each of them.
"""

import argparse
import os
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [str(ROOT / name) for name in ("runtime", "export", "cli", "scripts")]
sys.path[:0] = [path for path in SOURCES if path not in sys.path]


def main() -> int:
    """Run all sections, or in a process of its own one of them."""
    options = _options()
    if options.section is not None:
        return _one(options)
    with tempfile.TemporaryDirectory(dir=options.work or _roomy(), prefix="cuda-check-") as work:
        _unpack(options.models / "wheels", Path(work) / "site")
        return _all(options, Path(work))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prove and measure the CUDA runtime.")
    parser.add_argument("--models", type=Path, default=ROOT / ".cuda", help="what cuda_prepare.py made")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "cuda.json")
    parser.add_argument("--seconds", type=float, default=340, help="for everything together")
    parser.add_argument("--only", nargs="*", help="names of sections; the first is always run")
    parser.add_argument("--rehearse", action="store_true", help="do less of everything, without a card")
    parser.add_argument("--device", help="cuda or cuda:N; in a rehearsal fake, or cpu for bundles for it")
    parser.add_argument("--commit", default="unknown", help="of the code, for the results")
    parser.add_argument("--work", type=Path, help="folder for 4 GB of temporary files")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = options.device or ("fake" if options.rehearse else "cuda")
    return options


def _all(options: argparse.Namespace, work: Path) -> int:
    from cudacheck.running import Run, failures
    from cudacheck.sections import SECTIONS
    from cudacheck.setup import Setup

    facts = {"commit": options.commit, "rehearsal": options.rehearse}
    setup = Setup(options.models, work, options.device, options.rehearse)
    run = Run(setup, options.output, options.seconds, facts)
    for name in SECTIONS:
        if name == "prepare" or not options.only or name in options.only:
            run.section(name)
    failed = failures(run.found)
    print(f"{options.output}: {run.seconds - run.left:.0f} s, failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


def _one(options: argparse.Namespace) -> int:
    import torch  # noqa: F401 (with it come the CUDA libraries that ONNX Runtime looks for)
    from cudacheck.report import Section
    from cudacheck.sections import SECTIONS
    from cudacheck.setup import Setup

    setup = Setup(options.models, options.work, options.device, options.rehearse)
    card = str(setup.machine().get("card", ""))
    section = Section(options.section, options.state, seconds=options.seconds, card=card)
    with section.attempt(options.section):
        SECTIONS[options.section].load()(setup, section)
    section.finish()
    return 0


def _roomy() -> str | None:
    """A folder in memory, where bundles are written and read fastest, if there is one with room."""
    shared = Path("/dev/shm")  # noqa: S108 (a new folder is made in it)
    if not shared.is_dir() or not os.access(shared, os.W_OK):
        return None
    room = os.statvfs(shared)
    return str(shared) if room.f_bavail * room.f_frsize > 8 << 30 else None


def _unpack(wheels: Path, site: Path) -> None:
    """Make this project, and the packages of a folder of wheels, importable here and in every process begun here."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    sys.path.append(str(site))
    known = filter(None, [os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join([*SOURCES, *known, str(site)])


if __name__ == "__main__":
    sys.exit(main())
