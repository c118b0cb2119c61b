"""What holds the packages apart, read from their source and seen in fresh interpreters."""

import ast
import graphlib
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
SERVER = ROOT / "runtime" / "llmbuilder_server"
EXPORT = ROOT / "export" / "llmbuilder_export"
CLI = ROOT / "cli" / "llmbuilder_cli"

ROOMS = {
    "top": {"*"},
    "files": {"generator", "filtering"},
    "writing": {"generator", "chat"},
    "interactive": {"generator", "chat", "sessions", "filtering"},
    "chat": {"generator", "sessions", "filtering"},
    "sessions": {"generator", "filtering"},
    "constraints": {"generator"},
    "filtering": {"generator", "quality"},
    "quality": {"generator"},
    "scheduling": {"generator", "decoding"},
    "generator": {"decoding", "engine"},
    "engine": {"bundle", "decoding"},
    "bundle": set(),
    "decoding": set(),
    "ground": set(),
}
"""The plan of the house: which rooms of the runtime each one may import. All may import the ground they stand on."""
GROUND = {
    "arrays", "checks", "cleanup", "config", "detokenizer", "distribution", "errors", "forking", "installed", "logs",
    "options", "overrides", "ranges", "sentences", "showing", "signals", "strictjson", "tokenizer", "tokenizerfile",
    "userdata", "_upstream",
}  # fmt: skip
TOP = {"__init__", "api", "benchmark", "demo", "inference", "testing", "verify"}

NOT_AT_RUN_TIME = {"torch", "transformers", "onnx", "onnxscript", "onnx_ir", "optimum", "scipy"}

WEB = {"fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client"}


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


def room_of(module: str) -> str:
    """The room of a module of the runtime, by its dotted name without the package's."""
    first = module.partition(".")[0] or "__init__"
    return "ground" if first in GROUND else "top" if first in TOP else first


def doors() -> set[tuple[str, str, str]]:
    """Every (module, its room, room that it imports from), imports inside functions and for types included."""
    found = set()
    for path in RUNTIME.rglob("*.py"):
        module = ".".join(path.relative_to(RUNTIME).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module} imports relatively"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            inside = [name.removeprefix("llmbuilder.") for name in names if name.startswith("llmbuilder.")]
            found |= {(module, room_of(module), room_of(name)) for name in inside}
    return found


def test_every_module_has_its_room():
    modules = {path.relative_to(RUNTIME).with_suffix("").parts[0] for path in RUNTIME.rglob("*.py")}
    assert {room_of(module) for module in modules} == set(ROOMS)


def test_rooms_import_only_what_lies_below_them():
    wrong = [
        f"{module} ({room}) imports from {other}"
        for module, room, other in sorted(doors())
        if room != "top" and other not in ROOMS[room] | {room, "ground"}
    ]
    assert wrong == []


@pytest.mark.parametrize("package", [RUNTIME, SERVER, EXPORT, CLI], ids=lambda package: package.name)
def test_files_can_be_read_at_one_sitting(package):
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in package.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_the_plan_has_no_circle():
    order = graphlib.TopologicalSorter({room: below - {"*"} for room, below in ROOMS.items()})
    assert list(order.static_order())


def test_decoding_knows_neither_engine_nor_onnxruntime():
    used = {name for path, name in imported(RUNTIME) if path.parent.name == "decoding"}
    assert "onnxruntime" not in used
    assert "numpy" in used


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (RUNTIME, {"llmbuilder_server", "llmbuilder_export", "llmbuilder_cli"} | WEB | NOT_AT_RUN_TIME),
        (SERVER, {"llmbuilder_export", "llmbuilder_cli"} | NOT_AT_RUN_TIME),
        (EXPORT, {"llmbuilder_server", "llmbuilder_cli"} | WEB),
        (CLI, WEB | NOT_AT_RUN_TIME),
    ],
    ids=["runtime", "server", "export", "cli"],
)
def test_imports_point_one_way(package, forbidden):
    assert [(str(path), name) for path, name in imported(package) if name in forbidden] == []


def test_packages_are_walked():
    assert "numpy" in {name for _, name in imported(RUNTIME)}
    assert "llmbuilder" in {name for _, name in imported(CLI)}
    assert "fastapi" in {name for _, name in imported(SERVER)}


def test_importing_the_package_loads_nothing_heavy():
    assert (
        modules_after("import llmbuilder") & {"numpy", "onnxruntime", "tokenizers", "sentencepiece"} == set()
    )


def test_loading_a_plain_model_loads_nothing_that_it_does_not_use():
    bundle = ROOT / "artifacts" / "storyteller" / "bundle"
    program = (
        "import sys; sys.modules.pop('importlib.metadata', None)\n"
        "from llmbuilder.inference import GenerationConfig, TextGenerator\n"
        f"TextGenerator({str(bundle)!r}).generate('Once', do_sample=False, max_new_tokens=1)\n"
    )
    loaded = modules_after(program)
    assert {"onnxruntime", "llmbuilder.engine.host"} <= loaded
    others = {
        "asyncio",
        "filelock",
        "importlib.metadata",
        "jinja2",
        "llguidance",
        "numpy.random",
        "regex",
        "rich",
    }
    ours = {
        "chat",
        "constraints",
        "decoding.beam",
        "engine.cuda",
        "filtering",
        "quality",
        "scheduling",
        "writing",
    }
    assert loaded & (others | {f"llmbuilder.{name}" for name in ours}) == set()


def test_generating_loads_no_training_library():
    program = (
        "from llmbuilder.inference import TextGenerator\n"
        "from llmbuilder.testing import fake_engine, scripted\n"
        "TextGenerator.from_engine(fake_engine(scripted('text'))).generate('some ')\n"
    )
    loaded = modules_after(program)
    assert "numpy" in loaded
    assert loaded & (WEB | NOT_AT_RUN_TIME) == set()


@pytest.mark.parametrize("name", ["llmbuilder", "llmbuilder.inference"])
def test_every_public_name_is_there_once(name):
    module = importlib.import_module(name)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/guide.md", "docs/cuda.md"])
def test_documents_name_modules_that_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`(llmbuilder(?:_server|_export|_cli)?(?:\.\w+)+)`", text))
    missing = [name for name in named if not exists(name)]
    assert missing == []


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one that can be read without importing it."""
    parent, _, last = name.rpartition(".")
    source = next(
        (r for r in (RUNTIME, SERVER, EXPORT, CLI) if r.name == name.split(".", maxsplit=1)[0]), None
    )
    if source is None:
        return False
    module = source.parent / Path(*name.split("."))
    if module.with_suffix(".py").is_file() or (module / "__init__.py").is_file():
        return True
    return importlib.util.find_spec(parent) is not None and last in dir(importlib.import_module(parent))
