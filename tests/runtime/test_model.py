import dataclasses
from pathlib import Path

import numpy as np
import onnx_writer
import pytest
from onnx_writer import tiny_logits, tiny_model, tiny_weights

from llmbuilder.bundle.manifest import LayerCache, ModelFacts
from llmbuilder.decoding.rows import chunk_sizes
from llmbuilder.engine import decoder as module
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.model import Model
from llmbuilder.engine.session import open_session
from llmbuilder.errors import BundleError, ConfigError

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
LAYER = LayerCache(heads=onnx_writer.KV_HEADS, key_size=onnx_writer.HEAD_DIM, value_size=onnx_writer.HEAD_DIM)
FACTS = ModelFacts(
    architecture="tiny",
    vocab_size=onnx_writer.VOCAB,
    context_length=onnx_writer.WINDOW,
    hidden_size=onnx_writer.HIDDEN,
    num_attention_heads=onnx_writer.HEADS,
    layers=(LAYER,) * onnx_writer.LAYERS,
    parameters=1,
)
IDS = [(7 * n * n + 3) % onnx_writer.VOCAB for n in range(onnx_writer.WINDOW)]


@pytest.fixture(scope="module")
def weights():
    return tiny_weights()


@pytest.fixture(scope="module")
def load(weights, tmp_path_factory):
    """Load the tiny model, or one that lacks an input or output, as if it had these facts."""

    def load(leave_out="", facts=FACTS, version=2, **options):
        path = tmp_path_factory.mktemp("tiny") / "model.onnx"
        path.write_bytes(tiny_model(weights, leave_out, version=version))
        return Model(open_session(path, built_for="cpu", device="cpu", threads=1), facts, **options)

    return load


@pytest.fixture(scope="module")
def model(load):
    return load()


@pytest.fixture
def expected(weights):
    """Logits after each of some ids, computed plainly."""
    return lambda ids: tiny_logits(weights, list(ids))


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


class TestPrefill:
    def test_gives_the_logits_after_the_last_tokens(self, model, expected):
        close(model.decoder().prefill(0, IDS[:20]), expected(IDS[:20])[-1:])
        close(model.decoder().prefill(0, IDS[:20], keep=20), expected(IDS[:20]))

    def test_appends_to_what_the_row_has(self, model, expected):
        decoder = model.decoder()
        decoder.prefill(0, IDS[:9])
        close(decoder.prefill(0, IDS[9:20], keep=11), expected(IDS[:20])[9:])
        assert decoder.lengths == [20]

    @pytest.mark.parametrize("keep", [1, 3, 8, 9, 30])
    def test_in_chunks_is_bit_for_bit_the_same(self, model, monkeypatch, keep):
        whole = model.decoder().prefill(0, IDS[:30], keep=keep)
        monkeypatch.setattr(module, "PREFILL_CHUNK", 8)
        np.testing.assert_array_equal(model.decoder().prefill(0, IDS[:30], keep=keep), whole)

    def test_may_fill_the_window(self, model, expected):
        close(model.decoder(capacity=1).prefill(0, IDS), expected(IDS)[-1:])

    def test_results_stay_when_the_decoder_goes_on(self, model):
        decoder = model.decoder()
        first = decoder.prefill(0, IDS[:5])
        copy = first.copy()
        decoder.prefill(0, IDS[5:9])
        decoder.step([1])
        np.testing.assert_array_equal(first, copy)


class TestStep:
    def test_follows_the_prompt(self, model, expected):
        decoder = model.decoder()
        decoder.prefill(0, IDS[:5])
        for n in range(5, 30):
            close(decoder.step([IDS[n]]), expected(IDS[: n + 1])[-1:])

    def test_rows_of_different_lengths_do_not_touch_each_other(self, model, expected):
        decoder = model.decoder(rows=3)
        texts = [IDS[:4], IDS[10:30], IDS[50:51]]
        for row, ids in enumerate(texts):
            decoder.prefill(row, ids)
        for token in (5, 6, 7):
            texts = [[*ids, token + row] for row, ids in enumerate(texts)]
            close(decoder.step([ids[-1] for ids in texts]), [expected(ids)[-1] for ids in texts])
        assert decoder.lengths == [7, 23, 4]

    def test_a_row_in_a_batch_is_bit_for_bit_the_row_alone(self, model):
        prompts = [IDS[n : n + 1 + 5 * n] for n in range(8)]
        batch = model.decoder(rows=8)
        for row, ids in enumerate(prompts):
            batch.prefill(row, ids)
        together = [batch.step([n + row for row in range(8)]).copy() for n in range(5)]
        for row, ids in enumerate(prompts):
            alone = model.decoder()
            alone.prefill(0, ids)
            for n in range(5):
                np.testing.assert_array_equal(alone.step([n + row])[0], together[n][row])

    def test_goes_on_with_fewer_and_with_more_rows(self, model, expected):
        decoder = model.decoder(rows=2)
        decoder.prefill(0, IDS[:4])
        decoder.prefill(1, IDS[4:7])
        decoder.step([1, 2])
        decoder.step([3])
        close(decoder.step([4, 5]), [expected([*IDS[:4], 1, 3, 4])[-1], expected([*IDS[4:7], 2, 5])[-1]])

    def test_grows_to_the_window_without_losing_a_token(self, model, expected):
        decoder = model.decoder(capacity=1)
        decoder.prefill(0, IDS[:2])
        for n in range(2, onnx_writer.WINDOW):
            logits = decoder.step([IDS[n]])
        close(logits, expected(IDS)[-1:])

    def test_grows_by_rows_without_losing_a_token(self, model, expected):
        decoder = model.decoder(rows=1)
        for row in range(5):
            decoder.prefill(row, IDS[row : row + 3])
        close(decoder.step([9] * 5), [expected([*IDS[row : row + 3], 9])[-1] for row in range(5)])

    def test_copies_nothing_while_there_is_room(self, model):
        decoder = model.decoder(capacity=64)
        decoder.prefill(0, IDS[:2])
        for n in range(2, 64):
            decoder.step([IDS[n]])
        assert decoder.cache.bytes_copied == 0

    def test_allocates_no_logits_for_each_number_of_rows(self, model):
        decoder = model.decoder(rows=8)
        for row in range(8):
            decoder.prefill(row, IDS[:2])
        buffers = [decoder.step([1] * rows) for rows in range(8, 0, -1)]
        assert all(np.shares_memory(buffers[0], logits) for logits in buffers)


class TestIds:
    @pytest.mark.parametrize("token", [-1, onnx_writer.VOCAB, 10**6, 2**70])
    def test_outside_the_vocabulary_are_refused_and_leave_the_decoder_usable(
        self, model, expected, capfd, token
    ):
        decoder = model.decoder(rows=2)
        decoder.prefill(0, IDS[:3])
        with pytest.raises(ConfigError, match=f"id {token} at position 1 is outside the vocabulary"):
            decoder.prefill(1, [0, token])
        with pytest.raises(ConfigError, match=f"id {token} at position 0 is outside the vocabulary"):
            decoder.step([token])
        assert decoder.lengths[0] == 3
        close(decoder.step(IDS[3:4])[0], expected(IDS[:4])[-1])
        assert capfd.readouterr().out == ""


class TestGraph:
    @pytest.mark.parametrize(
        "name", ["position_ids", "logits_start", "logits", "present.1.value", "past_key_values.0.key"]
    )
    def test_that_lacks_a_name_is_refused(self, monkeypatch, name):
        class Session(Described):
            def get_inputs(self):
                return [node for node in super().get_inputs() if node.name != name]

            def get_outputs(self):
                return [node for node in super().get_outputs() if node.name != name]

        with pytest.raises(BundleError, match=f"graph of /b lacks {name}: .* export the model again"):
            Model(Session(), FACTS, where="/b")

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"layers": (LAYER,) * 3}, "lacks past_key_values.2.key"),
            ({"layers": (LAYER,)}, "also has past_key_values.1.key"),
            ({"layers": (LAYER, dataclasses.replace(LAYER, heads=2))}, "past_key_values.1.key in shape"),
            ({"layers": (LAYER, dataclasses.replace(LAYER, key_size=16))}, "past_key_values.1.key in shape"),
            (
                {"layers": (LAYER, dataclasses.replace(LAYER, value_size=4))},
                "past_key_values.1.value in shape",
            ),
            ({"vocab_size": onnx_writer.VOCAB + 1}, "40 logits.* 41"),
        ],
    )
    def test_that_its_manifest_contradicts_is_refused_with_place_and_remedy(self, load, facts, message):
        with pytest.raises(BundleError, match=f"graph of the model .*{message}.* export the model again"):
            load(facts=dataclasses.replace(FACTS, **facts))

    @pytest.mark.parametrize("keep", [1, 2, 40])
    def test_of_the_first_format_gives_the_same_logits(self, load, model, keep):
        old = load(version=1)
        assert (old.head, model.head) == ("num_logits_to_keep", "logits_start")
        found, wanted = (m.decoder().prefill(0, IDS[:40], keep=keep) for m in (old, model))
        assert found.shape == (keep, onnx_writer.VOCAB)
        np.testing.assert_array_equal(found, wanted)

    @pytest.mark.parametrize("version", [1, 2])
    def test_gives_the_last_logits_to_programs_that_do_not_ask(self, load, expected, version):
        session = load(version=version).session
        cache = np.zeros((1, onnx_writer.KV_HEADS, 0, onnx_writer.HEAD_DIM), np.float32)
        feeds = {node.name: cache for node in session.get_inputs() if "past" in node.name}
        feeds |= {"input_ids": np.array([IDS[:5]]), "position_ids": np.arange(5)[None]}
        (logits,) = session.run(["logits"], feeds | {"attention_mask": np.ones((1, 5), np.int64)})
        assert logits.shape[1] == 1
        close(logits[0], expected(IDS[:5])[-1:])

    def test_with_a_cache_of_unknown_type_is_refused(self):
        with pytest.raises(BundleError, match=r"cache of type tensor\(double\).*Upgrade"):
            Model(Described(cache_type="tensor(double)"), FACTS)

    def test_whose_logits_are_no_vectors_is_refused(self):
        session = Described(cache_type="tensor(float)")
        scalars = [dataclasses.replace(node, shape=[]) for node in session.get_outputs()]
        session.get_outputs = lambda: scalars
        with pytest.raises(BundleError, match="computes None logits"):
            Model(session, FACTS)

    def test_with_a_cache_of_another_type_than_the_manifests_is_refused(self):
        Model(Described(cache_type="tensor(int8)"), FACTS, cache_type="int8")
        with pytest.raises(BundleError, match=r"past_key_values\.0\.key in int8, its manifest says float32"):
            Model(Described(cache_type="tensor(int8)"), FACTS)


@dataclasses.dataclass
class Node:
    name: str
    shape: list[object]
    type: str = "tensor(float)"


@dataclasses.dataclass
class Described:
    """What ONNX Runtime tells of a graph."""

    cache_type: str = "tensor(float)"

    def get_inputs(self):
        names = ("input_ids", "attention_mask", "position_ids", "logits_start")
        return [Node(name, []) for name in names] + self._cache("past_key_values")

    def get_outputs(self):
        return [Node("logits", ["batch", "kept", onnx_writer.VOCAB]), *self._cache("present")]

    def get_overridable_initializers(self):
        return []

    def _cache(self, prefix):
        shape = ["batch", onnx_writer.KV_HEADS, "past", onnx_writer.HEAD_DIM]
        return [
            Node(f"{prefix}.{layer}.{kind}", shape, self.cache_type)
            for layer in range(onnx_writer.LAYERS)
            for kind in ("key", "value")
        ]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (2, [2]), (8, [8]), (9, [7, 2]), (10, [8, 2]), (17, [8, 7, 2]), (24, [8, 8, 8])],
)
def test_no_chunk_is_a_token_alone_unless_it_is_all(count, sizes):
    assert chunk_sizes(count, 8) == sizes


class TestAnIdleRow:
    """Where a row alone rounds differently from rows together no step has a row alone."""

    @pytest.fixture(params=[0, 1])
    def decoder(self, request):
        model = load_engine(DEMO).model
        model.idle_rows = request.param
        return model.decoder(rows=2)

    @pytest.fixture
    def plain(self):
        return load_engine(DEMO).model.decoder(rows=2)

    def test_changes_nothing_but_the_run(self, decoder, plain):
        for each in (decoder, plain):
            each.prefill(0, [5, 6, 7])
            each.prefill(1, [8, 9])
        saved, saved_plain = decoder.save(0), plain.save(0)
        for tokens in ([3], [4], [1, 2], [3], [6, 7]):
            assert np.array_equal(decoder.step(tokens), plain.step(tokens))
        for each, row in ((decoder, saved), (plain, saved_plain)):
            each.copy(1, 0)
            each.truncate(1, 2)
            each.load(2, row, 2)
        assert decoder.lengths[:3] == plain.lengths[:3] == [4, 2, 2]
        for tokens in ([3], [4, 5, 6], [1]):
            assert np.array_equal(decoder.step(tokens), plain.step(tokens))

    def test_takes_part_in_steps_of_one_row_only(self, decoder):
        decoder.prefill(0, [5, 6])
        decoder.prefill(1, [5, 6])
        decoder.step([3])
        decoder.step([3, 4])
        idle = decoder._idle
        assert set(decoder._bindings) == ({(0, 2), (1, 2)} if idle else {(0, 1), (0, 2)})

    def test_never_gets_longer(self, decoder):
        decoder.prefill(0, [5])
        for _ in range(5):
            decoder.step([3])
        assert decoder.cache.lengths[: decoder._idle] == [0] * decoder._idle
