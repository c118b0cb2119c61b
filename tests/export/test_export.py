"""An export as a whole: what the bundle holds, and that nothing half-made is ever left."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import HEADS, LAYERS, VOCABULARY, WIDTH, WINDOW, gpt_state, model_config

from llmbuilder.bundle.opening import open_bundle
from llmbuilder.engine.model import Model
from llmbuilder.errors import DeviceError, ExportError, TokenizerError
from llmbuilder_export import export_model, pipeline
from llmbuilder_export.sources import load_source


def quiet(_line):
    pass


@pytest.fixture(scope="module")
def traced(checkpoint):
    """What is traced once and written many times below."""
    return pipeline._trace(
        lambda: load_source(checkpoint), checkpoint, None, pipeline._Stages(quiet), verify=False
    )


@pytest.fixture
def export(checkpoint, traced, monkeypatch, tmp_path):
    """Export without tracing anew."""
    monkeypatch.setattr(pipeline, "_trace", lambda *_, **__: traced)
    monkeypatch.setattr(pipeline, "_release_weights", lambda *_: None)

    def run(**options):
        options = {"output": tmp_path / "bundle", "quantization": "none", "progress": quiet} | options
        return export_model(checkpoint, **options)

    return run


def test_the_bundle_opens_and_tells_its_facts(report, checkpoint):
    manifest = open_bundle(report.path, rehash=True).manifest
    assert manifest == report.manifest
    facts = manifest.model
    assert (facts.vocab_size, facts.context_length, facts.hidden_size) == (VOCABULARY, WINDOW, WIDTH)
    assert (facts.num_layers, facts.num_attention_heads, facts.layers[0].heads) == (LAYERS, HEADS, HEADS)
    unique = {name: w for name, w in gpt_state().items() if "mask" not in name and name != "lm_head.weight"}
    assert facts.parameters == sum(weight.numel() for weight in unique.values())
    assert manifest.source.kind == "llmbuilder"
    assert manifest.source.name == checkpoint.name


def test_the_measured_difference_is_in_the_manifest(report):
    verification = report.manifest.verification
    differences = [value for name, value in verification.items() if name.startswith("max_logit_difference")]
    assert len(differences) == 3
    assert 0 < max(differences) < 1e-3
    assert verification["greedy_tokens_equal"] == verification["greedy_tokens"] > 0


def test_the_bundle_computes_the_models_logits_up_to_the_full_window(report, checkpoint):
    ids = np.random.default_rng(1).integers(0, VOCABULARY, WINDOW).tolist()
    expected = load_source(checkpoint).network.reference(torch.tensor([ids]))[0].numpy()
    decoder = Model.open(report.path, report.manifest).decoder()
    np.testing.assert_allclose(decoder.prefill(0, ids, keep=WINDOW), expected, atol=1e-4)


def test_the_tied_embedding_is_stored_once(report):
    embeddings = 4 * VOCABULARY * WIDTH
    assert report.manifest.files["model.onnx.data"].size < report.weights_bytes + embeddings / 2


def test_the_graph_says_nothing_of_the_machine_it_was_made_on(report):
    content = (report.path / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert bytes(Path.cwd()) not in content


@pytest.mark.parametrize("kv_cache", ["float32", "int8"])
def test_a_bundle_is_the_same_whatever_the_process_traced_before(
    export, traced, monkeypatch, tmp_path, kv_cache
):
    hashes = []
    for number in range(2):
        model = traced.model.clone()
        for index, node in enumerate(model.graph):
            node.name = f"{node.op_type}_{1000 * number + index}"
        numbered = replace(traced, model=model)
        monkeypatch.setattr(pipeline, "_trace", lambda *_, numbered=numbered, **__: numbered)
        hashes.append(export(output=tmp_path / str(number), kv_cache=kv_cache).manifest.files)
    assert hashes[0] == hashes[1]


def test_the_output_lies_beside_the_source_unless_told(checkpoint):
    assert pipeline.default_output(checkpoint) == checkpoint.parent / "model-onnx"
    assert pipeline.default_output(checkpoint.parent) == checkpoint.parent.with_name(
        f"{checkpoint.parent.name}-onnx"
    )


def test_an_existing_output_is_replaced_only_when_asked(export, tmp_path):
    first = export()
    with pytest.raises(ExportError, match="--overwrite"):
        export()
    (first.path / "model.onnx").write_bytes(b"old")
    second = export(overwrite=True)
    open_bundle(second.path, rehash=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_never_replaced(export, tmp_path):
    (tmp_path / "bundle").mkdir()
    precious = tmp_path / "bundle" / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(ExportError, match="not a bundle"):
        export(overwrite=True)
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    "manifest", ["{}", "[]", "[" * 100_000, '{"format": "other", "files": {"thesis.txt": {}}}', "broken"]
)
def test_the_manifest_of_something_else_makes_no_bundle(export, tmp_path, manifest):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text(manifest)
    with pytest.raises(ExportError, match="not a bundle"):
        export(overwrite=True)
    assert (tmp_path / "bundle" / "manifest.json").read_text() == manifest


@pytest.mark.parametrize("manifest", [{"version": 99}, {"files": None}, {"files": {"model.onnx": {}}}])
def test_a_bundle_that_cannot_be_used_is_replaced(export, tmp_path, manifest):
    (tmp_path / "bundle").mkdir()
    content = {"format": "llmbuilder-bundle", **manifest}
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(content))
    open_bundle(export(overwrite=True).path, rehash=True)


def test_a_bundle_that_holds_something_else_too_is_not_replaced(export, monkeypatch, tmp_path):
    first = export()
    monkeypatch.setattr(pipeline, "_trace", lambda *_, **__: pytest.fail("work was done"))
    (first.path / "notes").mkdir()
    (first.path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"not of the bundle \(notes\)"):
        export(overwrite=True)
    assert (first.path / "notes" / "thesis.txt").read_text() == "years of work"


def test_what_appears_while_exporting_is_not_replaced(export, monkeypatch, tmp_path):
    def appears(*_):
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "thesis.txt").write_text("years of work")

    monkeypatch.setattr(pipeline, "write_manifest", appears)
    with pytest.raises(ExportError, match="not a bundle"):
        export(overwrite=True)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["thesis.txt"]


def fails_when_written(monkeypatch, error):
    def fail(folder, *_):
        (folder / "model.onnx.data").write_bytes(b"half")
        raise error

    monkeypatch.setattr(pipeline, "write_files", fail)


def fails_when_verified(monkeypatch, error):
    monkeypatch.setattr(pipeline, "check_graph", lambda *_: (_ for _ in ()).throw(error))


@pytest.mark.parametrize("stage", [fails_when_written, fails_when_verified])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ExportError("broken"), ValueError("bug"), SystemExit(143)]
)
def test_an_export_that_ends_early_leaves_nothing_behind(export, monkeypatch, tmp_path, stage, error):
    stage(monkeypatch, error)
    with pytest.raises(type(error)):
        export(output=tmp_path / "new" / "directories" / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Quota exceeded"),
        OSError("4096 requested and 3072 written"),  # NumPy, which does not say why
    ],
)
def test_a_full_disk_is_a_clear_error_and_keeps_the_old_bundle(export, monkeypatch, tmp_path, error):
    old = export()
    fails_when_written(monkeypatch, error)
    with pytest.raises(ExportError, match=r"disk of .* is full"):
        export(overwrite=True)
    open_bundle(old.path, rehash=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_any_other_error_of_the_disk_names_the_output(export, monkeypatch, tmp_path):
    fails_when_written(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(ExportError, match=r"bundle cannot be written .*Input/output error.*-o"):
        export()


@pytest.mark.parametrize(
    "place", ["file/bundle", f"new/{'x' * 300}/bundle", f"new/{'x' * 300}", "/proc/bundle"]
)
def test_an_output_that_cannot_be_made_is_refused_before_any_work(checkpoint, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"cannot be written .*-o"):
        export_model(checkpoint, output=tmp_path / place, progress=pytest.fail)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("quantization", "int3"), ("kv_cache", "int2"), ("device", "tpu"), ("max_context", 1)],
)
def test_options_out_of_range_are_refused_before_any_work(checkpoint, tmp_path, option, value):
    with pytest.raises(ExportError, match=option):
        export_model(checkpoint, output=tmp_path / "bundle", progress=quiet, **{option: value})
    assert list(tmp_path.iterdir()) == []


def test_without_a_sound_onnx_runtime_it_is_refused_before_any_work(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr("llmbuilder.installed.has", lambda _: True)
    with pytest.raises(DeviceError, match="both installed"):
        export_model(checkpoint, output=tmp_path / "bundle", progress=pytest.fail)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path, sentencepiece_file):
    path = tmp_path / "model.pt"
    config = model_config(vocab_size=100)
    torch.save({"model_state_dict": gpt_state(vocabulary=100), "model_config": config}, path)
    with pytest.raises(TokenizerError, match=r"330 tokens, the model .* only 100"):
        export_model(path, sentencepiece_file, progress=quiet)


def test_progress_names_each_stage_when_it_begins_and_its_seconds_when_it_is_done(export):
    lines = []
    report = export(progress=lines.append)
    assert lines[::2] == [f"{stage} ..." for stage in report.seconds]
    assert [line.split(":")[0] for line in lines[1::2]] == list(report.seconds)
    assert all(line.endswith(" s") for line in lines[1::2])
    assert list(report.seconds)[-1] == "verify"


def test_long_stages_tell_how_far_they_are_from_nothing_to_all(checkpoint, tmp_path):
    told = []
    options = {"quantization": "int4", "kv_cache": "int8", "progress": lambda line: told.append((line,))}
    export_model(checkpoint, output=tmp_path / "bundle", advance=lambda *far: told.append(far), **options)
    begun, found = "", {}
    for one in told:
        if len(one) == 1:
            begun = one[0].removesuffix(" ...") if one[0].endswith(" ...") else begun
        else:
            found.setdefault(begun, []).append(one)
    assert {stage: {what for what, *_ in seen} for stage, seen in found.items()} == {
        "run in PyTorch": {"texts", "tokens"},
        "quantize": {"weights", "tokens"},
        "verify": {"texts", "texts, step by step", "steps of a batch", "tokens"},
    }
    for seen in found.values():
        assert seen[0][1] == 0
        for (what, done, total), after in zip(seen, [*seen[1:], ("", 0, 0)], strict=True):
            assert after == (what, done + 1, total) if done < total else after[1] == 0


def test_the_program_tells_an_error_in_one_line(run_script, tmp_path):
    program = "import runpy; runpy.run_module('llmbuilder_export', run_name='__main__')"
    done = run_script(program, tmp_path / "missing.pt")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: There is no model at")
    assert done.stderr.count("\n") == 1


def test_the_manifest_is_written_last(export, monkeypatch, tmp_path):
    """A bundle copied in the middle of an export lacks its manifest and is no bundle."""
    seen = []

    def spy(folder, manifest):
        seen.extend(sorted(path.name for path in folder.iterdir()))
        (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")

    monkeypatch.setattr(pipeline, "write_manifest", spy)
    report = export()
    assert seen == sorted(report.manifest.files)
    assert (
        json.loads((report.path / "manifest.json").read_text(encoding="utf-8"))["format"]
        == "llmbuilder-bundle"
    )
