"""Memory of a process that has loaded SmolLM2 and generated a little.

Usage: python benchmarks/memory.py    after `make smollm2`; writes benchmarks/results/memory.json
"""

import json
import subprocess
import sys
from pathlib import Path

from common import QUANTIZATIONS, Row, arguments, bundle, report

MB = 1_000_000
PROGRAM = """
import json, sys
from pathlib import Path
def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))
import llmbuilder.inference, onnxruntime, tokenizers
empty = resident("VmRSS:")
with llmbuilder.inference.TextGenerator(sys.argv[1]) as generator:
    generator.generate("Once upon a time", max_new_tokens=32)
    print(json.dumps([empty, resident("VmRSS:"), resident("VmHWM:")]))
"""


def main() -> None:
    """Measure each quantization in a process of its own."""
    options = arguments("Memory of a loaded model.")
    report("memory", [measure(bundle(options.models, q), q) for q in QUANTIZATIONS], options.results)


def measure(directory: Path, quantization: str) -> Row:
    """Sizes in MB (10^6 bytes): files, the process before and after loading, and its peak."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(directory)], stdout=subprocess.PIPE, check=True)
    empty, loaded, peak = json.loads(done.stdout)
    files = sum(path.stat().st_size for path in directory.iterdir())
    return {
        "quantization": quantization,
        "files MB": files / MB,
        "libraries MB": empty / MB,
        "loaded MB": loaded / MB,
        "peak MB": peak / MB,
        "loaded / files": loaded / files,
    }


if __name__ == "__main__":
    main()
