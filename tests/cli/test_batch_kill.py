"""``llmb generate batch`` killed at random moments: nothing is lost, nothing is there twice."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from loaded_llmb import Wanted

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
OPTIONS = {"greedy": ["--set", "do_sample=false"], "seeded": ["--seed", "5"]}
PROVED = 500


@pytest.fixture
def prompts(tmp_path, proving):
    """Prompts of very uneven lengths, one of them wrong."""
    numbers = random.Random(1)
    lines = [
        {"id": f"n{n}", "prompt": f"Once, {n} foxes", "max_new_tokens": round(4 * 2 ** numbers.uniform(0, 6))}
        for n in range(120 if proving else 20)
    ]
    lines[7] = {"id": "wrong", "prompt": "x", "max_new_tokens": -1}
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def start(loaded_python):
    def start(prompts, target, options):
        batch = ["generate", "batch", str(prompts), str(target), "-m", str(DEMO), "--threads", "1", *options]
        return loaded_python.start(Wanted(batch, 3 * [os.devnull], {**os.environ}))

    return start


@pytest.mark.parametrize("way", OPTIONS)
def test_killed_and_resumed_gives_the_file_of_one_run(start, prompts, tmp_path, way, proving, record_proof):
    whole = tmp_path / "whole.jsonl"
    started = time.monotonic()
    assert start(prompts, whole, OPTIONS[way]).wait() == 1  # one of the lines is wrong
    seconds = time.monotonic() - started

    target = tmp_path / "out.jsonl"
    moments = random.Random(2)
    wanted = PROVED if proving else 1
    lines = []
    while len(lines) < wanted:
        run = start(prompts, target, [*OPTIONS[way], "--resume"])
        time.sleep(moments.uniform(0, seconds))
        run.kill()
        if run.wait() == 1:  # it was done before
            assert target.read_bytes() == whole.read_bytes()
            target.unlink()
            assert not target.with_name("out.jsonl.run").exists()
            continue
        assert run.returncode == -signal.SIGKILL
        lines.append(len(target.read_bytes().splitlines()) if target.exists() else 0)
    assert start(prompts, target, [*OPTIONS[way], "--resume"]).wait() == 1

    assert target.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "whole.jsonl"]
    begun = sum(0 < count < len(whole.read_bytes().splitlines()) for count in lines)
    record_proof(f"batch killed and resumed, {way}", kills=len(lines), in_the_middle_of_the_file=begun)
