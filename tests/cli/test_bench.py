"""``llmb bench``: what it asks for and what it prints."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmbuilder.benchmark import Benchmark, Plan, RowsReport, Run
from llmbuilder.engine.cuda.card import Card
from llmbuilder.errors import ConfigError
from llmbuilder_cli.commands.bench import MEANING

RESULT = Benchmark(
    device="cpu",
    card=None,
    deterministic=True,
    processor="Some Processor",
    threads=2,
    runtime="onnxruntime 1.32.0",
    quantization="int8",
    bundle_bytes=4_816_000,
    window=256,
    plan=Plan(rows=(1, 8), prompt_tokens=192, new_tokens=11, repeat=3),
    load_seconds=0.214,
    rows=(
        RowsReport(
            1,
            192,
            11,
            (Run(0.05, 0.048, 0.02, 0.016), Run(0.06, 0.05, 0.02, 0.016), Run(0.08, 0.06, 0.02, 0.016)),
        ),
        RowsReport(8, 192, 11, (Run(0.5, 0.4, 0.08, 0.08),) * 3),
    ),
    peak_bytes=151_000_000,
)


class Calls(list):
    """What was asked for, and the ``result`` that it gets."""

    result = RESULT


@pytest.fixture
def measured(monkeypatch):
    """Every bundle measures RESULT; returns what was asked for."""
    calls = Calls()

    def run(model, plan, *, progress, **options):
        progress("loading")
        calls.append((model, plan, options))
        return calls.result

    monkeypatch.setattr("llmbuilder.benchmark.run_benchmark", run)
    return calls


def test_the_table_says_what_was_measured_and_on_what(llmb, measured):
    result = llmb("bench", "bundle")
    assert result.stdout.splitlines()[:9] == [
        "bundle    bundle, int8, 4.8 MB, window 256",
        "runs on   cpu: Some Processor, 2 threads, onnxruntime 1.32.0",
        "measured  prompts of 192 tokens, 11 new tokens, greedy; median of 3 runs, +- half of their range",
        "loading   0.21 s, files checked",
        "memory    151.0 MB at its peak, the whole process",
        "",
        "rows    prefill/s    first ms    tokens/s    step ms  outside",
        "   1  3,840 +-10%  60.0 +-25%    500 +-0%  2.00 +-0%      20%",
        "   8   3,840 +-0%    500 +-0%  1,000 +-0%  8.00 +-0%       0%",
    ]
    assert result.stderr == ""


def test_on_a_card_the_table_names_it_and_its_memory(llmb, measured):
    card = Card(
        "NVIDIA A", total_bytes=80_000_000_000, free_bytes=78_500_000_000, driver="580.95", cuda="13.0"
    )
    measured.result = replace(RESULT, device="cuda:1", card=card, deterministic=False)
    lines = llmb("bench", "bundle", "--device", "cuda:1", "--no-deterministic").stdout.splitlines()
    assert lines[1] == "runs on   cuda:1: NVIDIA A, not deterministic, driver 580.95, onnxruntime 1.32.0"
    assert lines[4] == (
        "memory    1,500.0 MB of 80,000.0 MB on the card in use, by all programs; the process 151.0 MB at its peak"
    )
    assert measured[0][2] == {"device": "cuda:1", "threads": None, "deterministic": False}
    found = json.loads(llmb("bench", "bundle", "--json").stdout)
    assert (found["card"]["free_bytes"], found["deterministic"]) == (78_500_000_000, False)


def test_every_column_is_explained_below_the_table(llmb, measured):
    legend = llmb("bench", "bundle").stdout.splitlines()[-len(MEANING) :]
    assert [line.split("  ")[0] for line in legend] == list(MEANING)


def test_what_is_asked_for_is_measured(llmb, measured):
    options = ("--rows", "2, 4", "--prompt-tokens", 9, "--new-tokens", 5, "--repeat", 7, "--threads", 3)
    assert llmb("bench", "bundle", "--device", "cpu", *options).exit_code == 0
    plan = Plan(rows=[2, 4], prompt_tokens=9, new_tokens=5, repeat=7)
    assert measured == [(Path("bundle"), plan, {"device": "cpu", "threads": 3, "deterministic": True})]


def test_json_has_every_value_of_every_run(llmb, measured):
    found = json.loads(llmb("bench", "bundle", "--json").stdout)
    assert (found["prompt_tokens"], found["peak_bytes"], found["threads"]) == (192, 151_000_000, 2)
    assert [entry["rows"] for entry in found["rows"]] == [1, 8]
    assert found["rows"][0]["first_token_seconds"] == [0.05, 0.06, 0.08]


@pytest.mark.parametrize("rows", ["", "1,x", "1;8", "1.5"])
def test_rows_that_are_no_numbers_are_wrong_usage(llmb, measured, rows):
    result = llmb("bench", "bundle", "--rows", rows)
    assert result.exit_code == 2
    assert "Write it like 1,8." in result.stderr
    assert measured == []


def test_numbers_out_of_range_are_refused_before_anything_is_loaded(llmb, measured):
    assert isinstance(llmb("bench", "bundle", "--rows", "1,0").exception, ConfigError)
    assert llmb("bench", "bundle", "--new-tokens", "1").exit_code == 2
    assert measured == []
