"""What `scripts/cuda_prepare.py` makes for a machine with a card, and what `scripts/cuda_check.py` does there."""

import json
import subprocess
import sys
from pathlib import Path

import cudacheck.shells
import numpy as np
import pytest
import torch
from cudacheck import commands, running
from cudacheck.filling import checkpoint_tensors, fill_shell
from cudacheck.report import Section
from cudacheck.rows import rotations
from cudacheck.sections import SECTIONS
from cudacheck.setup import FAKE, Setup
from cudacheck.shells import Recipe, make_shell

from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.loading import load_engine
from llmbuilder_export import export_model

ROOT = Path(__file__).parent.parent.parent
IDS = [5, 9, 2, 7]


@pytest.fixture(scope="module")
def half(checkpoint, tmp_path_factory):
    """A small model's bundle for CUDA."""
    output = tmp_path_factory.mktemp("cuda") / "bundle"
    options = {"quantization": "none", "device": "cuda", "verify": False, "progress": lambda _: None}
    return export_model(checkpoint, output=output, **options).path


@pytest.fixture
def small(monkeypatch):
    """Weights that count as large, in a model that is tiny."""
    monkeypatch.setattr(cudacheck.shells, "LARGE", 2048)
    monkeypatch.setattr(cudacheck.shells, "WORTH", 512)


def test_a_shell_with_its_checkpoint_gives_the_bundle_it_was_made_of(half, checkpoint, tmp_path, small):
    recipe = make_shell(
        half,
        tmp_path / "shell",
        checkpoint=checkpoint_tensors(checkpoint),
        checkpoint_name=str(checkpoint),
    )
    assert sum(piece.size for piece in recipe.pieces) > 0.8 * recipe.size
    filled = fill_shell(tmp_path / "shell", tmp_path / "filled")
    names = sorted(path.name for path in half.iterdir())
    assert [path.name for path in sorted(filled.iterdir())] == names
    assert [name for name in names if (filled / name).read_bytes() != (half / name).read_bytes()] == []


def test_another_checkpoint_is_refused(half, checkpoint, tmp_path, small):
    other = tmp_path / "other.pt"
    content = torch.load(checkpoint, weights_only=True)
    content["model_state_dict"]["token_embedding.weight"] += 1
    torch.save(content, other)
    tensors = checkpoint_tensors(checkpoint)
    make_shell(half, tmp_path / "shell", checkpoint=tensors, checkpoint_name=str(other))
    with pytest.raises(ValueError, match="make the shells again"):
        fill_shell(tmp_path / "shell", tmp_path / "filled")


def test_a_shell_without_one_gives_a_bundle_of_the_same_shape_that_runs(half, tmp_path, small):
    recipe = make_shell(half, tmp_path / "shell", network={"hidden_size": 32})
    assert all(piece.tensor is None and piece.scale > 0 for piece in recipe.pieces)
    assert Recipe.read(tmp_path / "shell") == recipe
    filled = fill_shell(tmp_path / "shell", tmp_path / "filled")
    assert (filled / WEIGHTS_NAME).read_bytes() != (half / WEIGHTS_NAME).read_bytes()
    assert open_bundle(filled, rehash=True).manifest.model == open_bundle(half).manifest.model
    decoder = load_engine(filled, device="cpu").model.decoder()
    logits = decoder.prefill(0, IDS)
    assert np.isfinite(logits).all()
    assert not np.array_equal(logits, load_engine(half, device="cpu").model.decoder().prefill(0, IDS))


def test_what_is_drawn_keeps_the_size_of_what_it_is_multiplied_with(half, tmp_path, small):
    recipe = make_shell(half, tmp_path / "shell")
    filled = np.fromfile(fill_shell(tmp_path / "shell", tmp_path / "filled") / WEIGHTS_NAME, np.uint8)
    for piece in recipe.pieces:
        weights = filled[piece.offset : piece.offset + piece.size].view(piece.dtype).astype(np.float64)
        assert weights.std() == pytest.approx(piece.scale, rel=0.1)
        assert round(piece.scale**-2) in piece.shape


def test_the_code_for_cards_runs_in_the_memory_of_the_process(half):
    setup = Setup(half.parent, half.parent, FAKE, rehearse=True)
    decoder = setup.engine(half.name).model.decoder(rows=2)
    found = [np.array(decoder.prefill(0, IDS)), np.array(decoder.step([3]))]
    other = load_engine(half, device="cpu").model.decoder()
    for logits, wanted in zip(found, [other.prefill(0, IDS), other.step([3])], strict=True):
        np.testing.assert_allclose(logits, wanted, atol=0.05)


def test_checks_are_kept_one_by_one_and_errors_are_results(tmp_path, capsys):
    path = tmp_path / "state.json"
    section = Section("numbers", path, seconds=100)
    section.check("one", True, value=1)
    with section.attempt("two"):
        section.measure("two", value=0.5)
        raise ValueError("no such number")
    section.leave_out("three", "there is no card")
    assert not section.enough("four", 1000)
    kept = json.loads(path.read_text())
    assert [(check["name"], check["passed"]) for check in kept["checks"]] == [
        ("one", True), ("two", None), ("two", False),
    ]  # fmt: skip
    assert "no such number" in kept["checks"][2]["error"]
    assert [gap["name"] for gap in kept["not_checked"]] == ["three", "four"]
    assert "FAILED: two" in capsys.readouterr().out


@pytest.mark.parametrize(("card", "judged"), [("NVIDIA H200", False), ("NVIDIA H100 80GB HBM3", None)])
def test_targets_are_those_of_one_card(tmp_path, card, judged):
    path = tmp_path / "state.json"
    Section("speed", path, seconds=9, card=card).target("tokens/s", 5.0, least=6.0)
    (check,) = json.loads(path.read_text())["checks"]
    assert (check["passed"], check["met"], check["at_least"]) == (judged, judged, 6.0)


def test_rotations_put_the_same_prompt_at_other_places_among_others():
    turns = rotations(40, 8, 8)
    assert [places.index(0) for places in turns] == list(range(8))
    assert all(len(set(places)) == 8 for places in turns)
    assert len({tuple(sorted(places)) for places in turns}) > 1


def test_a_section_that_dies_loses_nothing(tmp_path, monkeypatch, capsys):
    """Its checks so far are in the results, with what became of it; the next one is run."""
    program = (
        "import json, os, sys; from pathlib import Path; options = dict(zip(sys.argv[1::2], sys.argv[2::2]));"
        "Path(options['--state']).write_text(json.dumps({'checks': [{'name': 'one', 'passed': True}]}));"
        "os._exit(7)"
    )
    monkeypatch.setattr(running, "ROOT", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "cuda_check.py").write_text(program)
    run = running.Run(Setup(tmp_path, tmp_path), tmp_path / "cuda.json", 60, {"commit": "abc"})
    for name in ("texts", "features"):
        run.section(name)
    kept = json.loads((tmp_path / "cuda.json").read_text())
    assert (kept["passed"], kept["unfinished"], kept["commit"]) == (2, ["texts", "features"], "abc")
    assert kept["sections"]["texts"]["error"] == "ended with status 7"
    assert running.failures(run.found) == ["texts", "features"]
    capsys.readouterr()


@pytest.mark.parametrize("plan", SECTIONS.values(), ids=SECTIONS)
def test_every_section_can_be_loaded(plan):
    assert callable(plan.load())


def test_commands_are_called_as_they_are(half, tmp_path):
    (tmp_path / "demo").symlink_to(half)
    (tmp_path / "135M").symlink_to(half)
    section = Section("commands", tmp_path / "state.json", seconds=300, card="")
    commands.run(Setup(tmp_path, tmp_path, FAKE, rehearse=True), section)
    told = json.loads((tmp_path / "state.json").read_text())["checks"]
    assert len(told) == 6
    assert [check for check in told if not check["passed"]] == []


def test_the_program_runs_a_section_of_a_rehearsal(half, tmp_path):
    make_shell(half, tmp_path / "models" / "135M", network={"hidden_size": 32})
    command = [sys.executable, str(ROOT / "scripts" / "cuda_check.py"), "--rehearse", "--only"]
    options = [f"--models={tmp_path / 'models'}", f"--output={tmp_path / 'cuda.json'}", f"--work={tmp_path}"]
    result = subprocess.run([*command, "prepare", *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    kept = json.loads((tmp_path / "cuda.json").read_text())
    assert (kept["rehearsal"], kept["failed"], kept["unfinished"]) == (True, [], [])
    assert kept["machine"]["onnxruntime"]
