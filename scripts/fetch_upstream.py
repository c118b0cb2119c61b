"""Fetch a release of LLMBuilder itself into a folder of its own, for tests that compare with it.

Its import name is that of this project, so it must never be installed beside it. Its dependencies are left out:
what the tests need of them comes with the export extra.

Usage: python scripts/fetch_upstream.py 2.0.0    prints the folder, for PYTHONPATH
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SHA256 = {
    "1.0.3": "e9f17b76fd528aafe0ff44da3537a5040da449e0eb1ce3ca829768117a5c229c",
    "2.0.0": "04c1586ac8a2335bad4d6bf72b576d09d8f7a620ea367c829351ed84a1c6916b",
}
CACHE = Path(__file__).resolve().parent.parent / ".cache"


def main() -> None:
    """Print the folder of the release named on the command line."""
    parser = argparse.ArgumentParser(description="Fetch a release of LLMBuilder into a folder of its own.")
    parser.add_argument("release", choices=sorted(SHA256))
    parser.add_argument("--cache", type=Path, default=CACHE, help="where releases are kept")
    options = parser.parse_args()
    print(fetch(options.release, options.cache))


def fetch(release: str, cache: Path = CACHE) -> Path:
    """Return the folder of a release, installed with pip unless it is there.

    Raises:
        subprocess.CalledProcessError: pip could not download it, or its hash is not the expected one.
    """
    target = cache / f"upstream-{release}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"llmbuilder=={release} --hash=sha256:{SHA256[release]}\n", encoding="ascii")
        folder = Path(scratch) / "installed"
        options = ["--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--target",
            str(folder),
            "-r",
            str(wanted),
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
        folder.rename(target)
    return target


if __name__ == "__main__":
    main()
