"""What is built for others: the same bytes wherever it is built, with the demo model, and a page without dead links."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "artifacts" / "storyteller" / "bundle"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def checkout(target):
    """The files that git knows, as a clone would have them, but for their times."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    return target


def build(source, target, *kinds):
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    subprocess.run(
        [*command, *(f"-t{kind}" for kind in kinds)], cwd=source, check=True, capture_output=True, umask=0o077
    )
    return {path.name: path.read_bytes() for path in target.iterdir()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory):
    """The folder with sdist and wheel."""
    folder = tmp_path_factory.mktemp("built")
    build(sources, folder, "sdist", "wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as file:
        yield file


def test_sdist_and_wheel_are_the_same_in_every_bit_when_built_again(built, sources, tmp_path):
    elsewhere = tmp_path / "another clone"
    shutil.copytree(sources, elsewhere)
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (0, 1_700_000_000))
    assert build(elsewhere, tmp_path / "dist", "sdist", "wheel") == {
        path.name: path.read_bytes() for path in built.iterdir()
    }


def test_the_sdist_gives_the_wheel(built, tmp_path):
    sdist = next(built.glob("*.tar.gz"))
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (wheel,) = build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "dist", "wheel").items()
    assert wheel == (wheel[0], (built / wheel[0]).read_bytes())


def test_the_wheel_has_the_demo_model_and_is_small(wheel, built):
    packed = {path.name: wheel.read(f"llmbuilder/storyteller/{path.name}") for path in DEMO.iterdir()}
    assert packed == {path.name: path.read_bytes() for path in DEMO.iterdir()}
    assert next(built.glob("*.whl")).stat().st_size < 6e6


def test_the_wheel_has_every_package_and_no_tests(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    packages = {"llmbuilder", "llmbuilder_server", "llmbuilder_export", "llmbuilder_cli"}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages


def test_the_page_of_an_index_has_no_link_that_leads_nowhere(wheel):
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    page = wheel.read(name).decode()
    assert "# llmbuilder-runtime" in page
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", page) == []


@pytest.fixture(scope="module")
def page():
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.page


def test_links_lead_to_the_repository_where_it_has_an_address(page):
    linked = page(
        "[the guide](docs/guide.md#a), [PyPI](https://pypi.org), [x](#x)", "https://host/it/", "1.2.3"
    )
    assert linked == (
        "[the guide](https://host/it/blob/v1.2.3/docs/guide.md#a), [PyPI](https://pypi.org), [x](#x)"
    )


def test_without_an_address_their_words_stay(page):
    assert page("[the guide](docs/guide.md), [x](#x)", None, "1") == "the guide, [x](#x)"


def test_the_image_is_not_roots_and_takes_the_wheel_with_extras_that_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extras,) = re.findall(
        r"llmbuilder_runtime-.*\.whl /wheel/\n(?s:.*)\$\(echo /wheel/\*\.whl\)\[([\w,]+)\]", DOCKERFILE
    )
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
