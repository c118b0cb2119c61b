"""Something is on the screen, or an error told, before anything slow is loaded."""

import os
import subprocess
import sys

import pytest

HEAVY = {
    "numpy",
    "onnxruntime",
    "tokenizers",
    "sentencepiece",
    "torch",
    "transformers",
    "onnx",
    "rich",
    "prompt_toolkit",
    "pydantic",
}
COMMANDS = {
    "chat": ("chat", "MODEL"),
    "generate": ("generate", "MODEL", "-p", "x"),
    "batch": ("generate", "batch", "MODEL", "in.jsonl", "out.jsonl"),
    "verify": ("verify", "MODEL"),
    "bench": ("bench", "MODEL"),
    "compare": ("compare", "MODEL", "-p", "x", "--config", "seed=1"),
    "evaluate": ("evaluate", "text.txt", "-m", "MODEL"),
    "export of nothing": ("export", "nowhere.pt"),
    "wrong option": ("generate", "--colour"),
    "wrong value": ("generate", "MODEL", "--seed", "hot"),
    "missing value": ("compare", "MODEL"),
    "help": ("--help",),
    "help of a command": ("generate", "MODEL", "--help"),
    "info": ("info", "MODEL"),
    "config": ("config",),
    "doctor": ("doctor",),
    "serve": ("serve", "MODEL"),
    "demo": ("demo",),
    "exporter": ("exporter", "remove"),
}
PROGRAM = """
import os, sys

class Screen:
    encoding = "utf-8"
    def isatty(self): return True
    def flush(self): pass
    def write(self, text):
        loaded = [name for name in sys.modules if name.split(".")[0] in HEAVY]
        os.write(REPORT, f"{len(sys.modules)} {' '.join(loaded)}".encode())
        os._exit(0)

sys.stderr = sys.stdout = Screen()
from llmbuilder_cli.main import main
main()
"""
MOST_MODULES = 300
"""`python -c pass` loads some 40, `import typer` 150; each takes about as long as another."""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_first_sign_of_life_waits_for_nothing_slow(command, tmp_path):
    (tmp_path / "text.txt").write_text("A text.")
    (tmp_path / "in.jsonl").write_text('{"prompt": "A text."}\n')
    reading, writing = os.pipe()
    program = PROGRAM.replace("HEAVY", repr(HEAVY)).replace("REPORT", str(writing))
    try:
        subprocess.run(
            [sys.executable, "-c", program, *COMMANDS[command]],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},  # where no exporter is
            check=False,
            capture_output=True,
            pass_fds=[writing],
        )
        os.close(writing)
        number, *loaded = os.read(reading, 10_000).decode().split()
    finally:
        os.close(reading)
    assert loaded == []
    assert int(number) < MOST_MODULES
