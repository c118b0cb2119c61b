"""The program that measures servers: what it writes, and that all are asked the same."""

import argparse
import itertools
import json
import math
import re
import subprocess
import sys

import pytest
import server_throughput
from servers.plot import plot
from servers.streams import prompts

ROWS = [
    {"server": name, "weights": "w", "clients": clients, "tokens/s": speed, "first token, s": 0.5}
    for clients in (1, 16)
    for name, speed in (("ours", 30.0), ("<theirs>", 20.0))
]


def test_our_server_is_measured_and_written_down(tmp_path):
    demo = ("--bundle=artifacts/storyteller/bundle", "--threads=1")
    short = ("--clients", "1", "2", "--seconds=0.5", "--ramp=0.3", "--rounds=1")
    command = [sys.executable, server_throughput.__file__, f"--results={tmp_path}", *demo, *short]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((tmp_path / "server_throughput.json").read_text())["rows"]
    assert [(row["server"], row["clients"]) for row in rows] == [("llmb serve", 1), ("llmb serve", 2)]
    assert all(row["tokens/s"] >= 0 for row in rows)
    assert "llmb serve" in (tmp_path / "server_throughput.md").read_text()
    assert "llmb serve" in (tmp_path / "server_throughput.svg").read_text()


def test_a_server_that_fails_has_no_number_and_the_others_have(tmp_path):
    def start(clients, log):
        raise RuntimeError("The server is not ready.")

    options = argparse.Namespace(ramp=0, seconds=0.1)
    failed = server_throughput.Contestant("theirs", "w", start, {})
    speed = server_throughput.speed_or_failure(failed, 1, options)
    assert math.isnan(speed.tokens_per_second)
    without = {"server": "theirs", "clients": 1, "tokens/s": math.nan}
    assert "nan" not in plot([*ROWS, without])


def test_no_two_prompts_begin_alike():
    first = list(itertools.islice(prompts(), 300))
    assert len({prompt[:8] for prompt in first}) == 300
    assert first == list(itertools.islice(prompts(), 300))


def test_the_table_has_a_line_for_each_server():
    assert server_throughput.markdown(ROWS).splitlines()[2:] == [
        "| ours, w | 30 | 30 | 0.50 s | 0.50 s |",
        "| <theirs>, w | 20 | 20 | 0.50 s | 0.50 s |",
    ]


def test_the_plot_has_a_bar_for_each_measurement_as_high_as_it_is_large():
    rectangles = re.findall(r'<rect .*height="([\d.]+)"', plot(ROWS))
    heights = [float(height) for height in rectangles[3:]]  # after the background and the legend
    assert heights[0] == heights[2] == pytest.approx(1.5 * heights[1], rel=0.01)
