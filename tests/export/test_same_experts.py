"""Quantized mixtures stay within the bounds of other models where they choose the experts that they chose before."""

import families
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from llmbuilder.bundle.manifest import ATTENTION_MASK, INPUT_IDS, LOGITS, LOGITS_START, PAST, POSITION_IDS
from llmbuilder_export import export_model
from llmbuilder_export.verify import _divergence as divergence

BOUNDS = {"int8": 1e-3, "int4": 3e-2}
"""Nats of mean KL divergence."""
ROWS, TOKENS = 8, 48
CHOICE = 1
"""The input of the operators of experts that says which each row is for."""


def computed(bundle, ids):
    """Logits [T, V], and for each layer of experts those that each token goes through, [T, experts].

    Where rows of a mixture are computed twice, what they are made of is shown.
    """
    proto = onnx.load(bundle / "model.onnx", load_external_data=False)
    makers = {name: node for node in proto.graph.node for name in node.output}
    given = [node.input[CHOICE] for node in proto.graph.node if node.op_type in ("MoE", "QMoE")]
    shown = [makers[name].input[0] if makers[name].op_type == "Concat" else name for name in given]
    for name in shown:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(proto, bundle / "shown.onnx")
    session = ort.InferenceSession(bundle / "shown.onnx")
    past = {
        arg.name: np.zeros((1, arg.shape[1], 0, arg.shape[3]), np.float32)
        for arg in session.get_inputs()
        if arg.name.startswith(PAST.partition("{")[0])
    }
    count = ids.shape[1]
    feeds = past | {
        ATTENTION_MASK: np.ones((1, count), np.int64),
        POSITION_IDS: np.arange(count)[None],
        LOGITS_START: np.array([-count]),
    }
    runs = [session.run([LOGITS, *shown], feeds | {INPUT_IDS: row[None]}) for row in ids]
    logits, *chosen = (np.stack(each) for each in zip(*runs, strict=True))
    return logits.reshape(ids.size, -1), [_by_token(choice, ids.size) for choice in chosen]


def _by_token(choice, count):
    """How often each token chose each expert: a row of ``choice`` is there for each of its choices."""
    return choice.reshape(count, -1, choice.shape[-1]).sum(axis=1)


@pytest.mark.prove
@pytest.mark.parametrize("name", families.ROUTED)
def test_mixtures_stay_within_the_bounds_where_they_choose_the_same_experts(
    name, tmp_path, byte_bpe_file, record_proof
):
    """Another expert is another function: that a score lies close to the next is nothing that rounding can mend."""
    families.save_family(name, tmp_path / "model")
    for mode in ("none", *BOUNDS):
        options = {"output": tmp_path / mode, "max_context": families.WINDOW, "progress": lambda _: None}
        export_model(tmp_path / "model", byte_bpe_file, quantization=mode, **options)
    ids = np.random.default_rng(0).integers(3, 300, (ROWS, TOKENS))
    logits, chosen = computed(tmp_path / "none", ids)
    for mode, bound in BOUNDS.items():
        rounded, others = computed(tmp_path / mode, ids)
        pairs = zip(chosen, others, strict=True)
        changed = np.any([(a != b).any(axis=1) for a, b in pairs], axis=0)
        since = np.logical_or.accumulate(changed.reshape(ROWS, TOKENS), axis=1).ravel()
        each = divergence(logits, rounded)
        record_proof(
            f"{name} {mode}",
            divergence=float(each.mean()),
            same=float(each[~since].mean()),
            changed=float(changed.mean()),
        )
        assert each[~since].mean() <= bound
