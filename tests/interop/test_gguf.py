"""SmolLM2's own GGUF file as a source."""

import pytest

from llmbuilder.bundle.manifest import MANIFEST_NAME
from llmbuilder.bundle.reading import read_manifest
from llmbuilder_export import export_model


@pytest.mark.prove
def test_a_gguf_file_becomes_the_bundle_of_the_directory_made_of_it(smollm2, smollm2_source, tmp_path):
    (file,) = smollm2_source.parent.glob("*.gguf")
    report = export_model(file, output=tmp_path / "bundle", quantization="none", progress=lambda _: None)
    expected = read_manifest(smollm2("none").bundle / MANIFEST_NAME)
    ours = {name: entry.sha256 for name, entry in report.manifest.files.items()}
    assert ours == {name: entry.sha256 for name, entry in expected.files.items()}
    assert report.manifest.tokenizer == expected.tokenizer
    assert report.manifest.source.kind == "gguf"
