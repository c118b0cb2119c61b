"""Whatever documents and messages tell people to install can be installed: nothing of ours is on a package index."""

import ast
import hashlib
import re
import tomllib
from base64 import urlsafe_b64encode
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from llmbuilder.distribution import NAME, changed_files, install_line, packages, requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = ("runtime/llmbuilder", "runtime/llmbuilder_server", "export", "cli", "scripts")
ELSEWHERE = {"llmbuilder", "torch", *(Requirement(each).name for extra in EXTRAS.values() for each in extra)}
"""What PyPI has: upstream, and what our extras name."""
ARGUMENT = re.compile(r'"[^"\n]*"|\'[^\'\n]*\'|[^\s`"\',)#]+')

END = re.compile(r"&&|\|\||\. |\)$")
"""Of a command, in a shell or in a sentence."""


def documents():
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
    return sorted(str(page.relative_to(ROOT)) for page in pages)


def targets(text):
    """What each ``pip install`` of a text would install, options left out."""
    for line in re.findall(r"pip install\s([^\n#`]*)", text.replace("\\\n", " ")):
        words = [word.strip("\"'") for word in ARGUMENT.findall(END.split(line)[0])]
        yield from (
            word
            for before, word in zip(["", *words], words, strict=False)
            if not word.startswith("-") and not before.endswith("-url") and before != "--constraint"
        )


def is_to_be_had(target):
    """Whether this is our checkout, a wheel or an address, each with extras that exist, or what an index has."""
    path, _, extras = target.partition("[")
    named = set(filter(None, extras.rstrip("]").split(",")))
    if path == "." or path.endswith((".whl", ".whl)")):
        return named <= set(EXTRAS)
    try:
        wanted = Requirement(target)
    except InvalidRequirement:
        return False
    if wanted.name == NAME:
        return wanted.url is not None and wanted.extras <= set(EXTRAS)
    return canonicalize_name(wanted.name) in map(canonicalize_name, ELSEWHERE)


def strings(folder):
    """Every string in the code below a folder, "0" for what is filled in, with its file."""
    for path in (ROOT / folder).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        formatted = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
        pieces = {id(piece) for values in formatted for piece in values}
        whole = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in pieces]
        texts = [[node] for node in whole if isinstance(node.value, str)]
        for text in (*formatted, *texts):
            parts = (piece.value if isinstance(piece, ast.Constant) else "0" for piece in text)
            yield str(path.relative_to(ROOT)), "".join(parts)


@pytest.mark.parametrize("document", documents())
def test_what_a_document_says_to_install_can_be_had(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [target for target in targets(text) if not is_to_be_had(target)] == []


def test_the_documents_say_how_to_install():
    assert len(list(targets((ROOT / "README.md").read_text(encoding="utf-8")))) >= 5


def test_pipx_gets_a_path_because_of_a_mere_name_it_drops_the_extras():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (spec,) = re.findall(r"--spec '([^']+)'", readme)
    assert re.fullmatch(r"\./llmbuilder_runtime-[\d.]+-py3-none-any\.whl\[cpu,export\]", spec)


@pytest.mark.parametrize("folder", SOURCES)
def test_no_message_names_our_distribution_to_pip(folder):
    wrong = [
        (path, text)
        for path, text in strings(folder)
        if re.search(rf"install [^.]*\b{NAME}\b(?! again)|{NAME}\[", text) and "uninstall" not in text
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", SOURCES)
def test_what_messages_say_to_install_can_be_had(folder):
    wrong = [
        (path, target)
        for path, text in strings(folder)
        for target in targets(text)
        if not is_to_be_had(target)
    ]
    assert wrong == []


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "dev"])
def test_an_extra_is_advised_by_what_it_brings(monkeypatch, extra):
    required = [f"{each}; extra == '{name}'" for name, extra in EXTRAS.items() for each in extra]
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=2.0", *required])
    assert packages(extra) == EXTRAS[extra]
    assert list(targets(install_line(extra))) == EXTRAS[extra]


def test_torch_comes_from_the_index_of_wheels_for_cpus():
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in install_line("export")


def test_a_copy_that_nobody_installed_is_installed_from_where_it_lies(not_installed):
    assert install_line("serve") == f'pip install "{ROOT}[serve]"'
    assert requirement("cpu") == f"llmbuilder-runtime[cpu] @ {ROOT.as_uri()}"


@pytest.mark.parametrize(
    ("remembered", "again"),
    [
        (None, "llmbuilder-runtime[cpu]==1.2.3"),
        ('{"url": "file:///", "dir_info": {}}', "llmbuilder-runtime[cpu] @ file:///"),
        ('{"url": "file:///nowhere/at%20all.whl", "archive_info": {}}', None),
        (
            '{"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}',
            "llmbuilder-runtime[cpu] @ git+https://host/x@c0ffee",
        ),
    ],
    ids=["index", "folder", "wheel that has gone", "repository"],
)
def test_it_is_installed_again_from_where_it_came(monkeypatch, remembered, again):
    class Installed:
        version = "1.2.3"

        def read_text(self, name):
            return {"direct_url.json": remembered}[name]

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert requirement("cpu") == again


@pytest.fixture
def not_installed(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    monkeypatch.setattr(metadata, "distribution", missing)


def test_files_that_are_not_as_installed_are_found(monkeypatch, tmp_path):
    digest = urlsafe_b64encode(hashlib.sha256(b"ours").digest()).decode().rstrip("=")
    info = tmp_path / "llmbuilder_runtime-1.dist-info"
    info.mkdir()
    names = ("kept.py", "changed.py", "gone.py")
    record = [f"{name},sha256={digest},4" for name in names] + ["llmbuilder_runtime-1.dist-info/RECORD,,"]
    (info / "RECORD").write_text("\n".join(record))
    (tmp_path / "kept.py").write_text("ours")
    (tmp_path / "changed.py").write_text("theirs")
    found = metadata.PathDistribution(info).files
    monkeypatch.setattr(metadata, "files", lambda name: found)
    assert changed_files() == ["changed.py", "gone.py"]


def test_a_copy_that_nobody_installed_has_no_record(monkeypatch, not_installed):
    monkeypatch.setattr(metadata, "files", metadata.distribution)
    assert changed_files() == []
