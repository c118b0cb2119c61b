"""What holds the packages apart, read from their source and seen in fresh interpreters."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "runtime" / "llmbuilder"
EXPORT = ROOT / "export" / "llmbuilder_export"
CLI = ROOT / "cli" / "llmbuilder_cli"

NOT_AT_RUN_TIME = {"torch", "transformers", "onnx", "onnxscript", "onnx_ir", "optimum", "scipy"}


def imported(package: Path) -> Iterator[tuple[Path, str]]:
    """Every (file, imported top-level name) of a package, imports inside functions included."""
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module.split(".")[0]


def modules_after(program: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``program``."""
    program += "\nimport sys\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (RUNTIME, {"llmbuilder_export", "llmbuilder_cli"} | NOT_AT_RUN_TIME),
        (EXPORT, {"llmbuilder_cli"}),
        (CLI, NOT_AT_RUN_TIME),
    ],
    ids=["runtime", "export", "cli"],
)
def test_imports_point_one_way(package, forbidden):
    assert [(str(path), name) for path, name in imported(package) if name in forbidden] == []


def test_packages_are_walked():
    assert "numpy" in {name for _, name in imported(RUNTIME)}
    assert "llmbuilder" in {name for _, name in imported(CLI)}


def test_importing_the_package_loads_nothing_heavy():
    assert (
        modules_after("import llmbuilder") & {"numpy", "onnxruntime", "tokenizers", "sentencepiece"} == set()
    )


def test_generating_loads_no_training_library():
    program = (
        "from llmbuilder.inference import TextGenerator\n"
        "from llmbuilder.testing import fake_engine, scripted\n"
        "TextGenerator.from_engine(fake_engine(scripted('text'))).generate('some ')\n"
    )
    loaded = modules_after(program)
    assert "numpy" in loaded
    assert loaded & NOT_AT_RUN_TIME == set()


@pytest.mark.parametrize("name", ["llmbuilder", "llmbuilder.inference"])
def test_every_public_name_is_there_once(name):
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_the_package_offers_no_name_that_inference_lacks():
    assert set(importlib.import_module("llmbuilder").__all__) <= set(
        importlib.import_module("llmbuilder.inference").__all__
    )


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/guide.md"])
def test_documents_name_modules_that_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`(llmbuilder(?:_export|_cli)?(?:\.\w+)+)`", text))
    missing = [name for name in named if not exists(name)]
    assert missing == []


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one that can be read without importing it."""
    parent, _, last = name.rpartition(".")
    source = next((r for r in (RUNTIME, EXPORT, CLI) if r.name == name.split(".", maxsplit=1)[0]), None)
    if source is None:
        return False
    module = source.parent / Path(*name.split("."))
    if module.with_suffix(".py").is_file() or (module / "__init__.py").is_file():
        return True
    return importlib.util.find_spec(parent) is not None and last in dir(importlib.import_module(parent))
