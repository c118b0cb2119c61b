"""The report of `llmb compare --html` as a real browser shows it, on phone and desk, in the light and in the dark."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "artifacts" / "storyteller" / "bundle"
PYTHON = ROOT / ".cache" / "tools" / "bin" / "python"
CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = ROOT / ".cache" / "proofs"

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def looks(tmp_path_factory):
    if not (PYTHON.exists() and CHROMIUM.exists()):
        pytest.skip(
            "No browser: apt-get install chromium, python3 -m venv .cache/tools, "
            ".cache/tools/bin/pip install playwright."
        )
    page = tmp_path_factory.mktemp("report") / "page.html"
    configs = ("temperature=0.4", "temperature=1.0,top_k=40", "temperature=1.6", "do_sample=false")
    words = [word for config in configs for word in ("--config", config)]
    command = [
        "compare",
        BUNDLE,
        "-p",
        "A fox",
        "--samples",
        "6",
        "--set",
        "max_new_tokens=40",
        "--html",
        page,
    ]
    llmb = [sys.executable, "-m", "llmbuilder_cli"]
    subprocess.run([*llmb, *command, *words], check=True, capture_output=True)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    program = Path(__file__).with_name("look_at_report.py")
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(page.parent))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | homes
    found = subprocess.run(
        [PYTHON, program, page, SCREENSHOTS], check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(found.stdout)


def test_the_report_fits_a_phone_and_a_desk(looks, record_proof):
    record_proof("report in Chromium", looks=looks)
    assert [look["width"] for look in looks] == [400, 400, 1200, 1200]
    assert all(look["wanted"] <= look["width"] for look in looks)
    assert all(look["outside"] == 0 for look in looks)
    assert all(look["smallest"] >= 12 for look in looks)


def test_the_report_is_dark_in_the_dark_and_legible_in_both(looks):
    assert [look["paper"] > 0.5 for look in looks] == [True, False, True, False]
    assert all(look["contrast"] >= 4.5 for look in looks)  # WCAG 2.2, AA


def test_the_report_uses_the_width_of_its_plots(looks):
    assert all(look["spread"] >= 0.6 for look in looks)


def test_the_report_asks_for_nothing_but_itself(looks):
    assert all(look["asked"] == 1 for look in looks)
    assert all(look["complaints"] == [] for look in looks)
