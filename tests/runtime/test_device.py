"""Everything of the CUDA side but the card: the same code on memory of the process, reached by addresses only."""

import gc
from pathlib import Path

import numpy as np
import onnx_writer
import pytest
from onnx_writer import tiny_facts, tiny_model, tiny_weights

from llmbuilder.engine.cuda import workspace as module
from llmbuilder.engine.cuda.place import Place
from llmbuilder.engine.model import Model
from llmbuilder.engine.session import open_session
from llmbuilder.errors import DeviceError

IDS = [(7 * n * n + 3) % onnx_writer.VOCAB for n in range(onnx_writer.WINDOW)]


def load(path: Path, **options):
    path.write_bytes(tiny_model(tiny_weights(), for_device=bool(options)))
    session = open_session(path, built_for="cpu", device="cpu", threads=1)
    return Model(session, tiny_facts(), **options)


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A model with the memory of a device, in sizes that tests outgrow."""
    monkeypatch.setattr(module, "STEP_ROWS", 2)
    monkeypatch.setattr(module, "STEP_CAPACITY", 16)
    monkeypatch.setattr(Place, "total_bytes", lambda _: 1)
    return load(tmp_path / "device.onnx", place=Place("cpu"))


@pytest.fixture
def host(tmp_path):
    return load(tmp_path / "host.onnx")


def equal(found, wanted):
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def both(device, host, **room):
    return device.decoder(**room), host.decoder(**room)


class TestADeviceDecoder:
    def test_computes_what_one_in_the_process_does_bit_for_bit(self, device, host):
        ours, theirs = both(device, host, rows=2)
        for row, length in ((0, 9), (1, 4)):
            equal(ours.prefill(row, IDS[:length], keep=3), theirs.prefill(row, IDS[:length], keep=3))
        for token in IDS[:5]:
            equal(ours.step([token, token + 1]), theirs.step([token, token + 1]))
        assert ours.lengths[:2] == theirs.lengths[:2] == [14, 9]

    def test_grows_with_its_rows_and_tokens(self, device, host):
        ours, theirs = both(device, host, capacity=1)
        for row in range(5):
            equal(ours.prefill(row, IDS[: 3 + 7 * row]), theirs.prefill(row, IDS[: 3 + 7 * row]))
        for token in IDS[:20]:
            equal(ours.step([token] * 5), theirs.step([token] * 5))
        assert (ours.cache.slots, ours.cache.capacity) == (8, 64)

    def test_fills_the_whole_window(self, device, host):
        ours, theirs = both(device, host)
        equal(ours.prefill(0, IDS[:-1]), theirs.prefill(0, IDS[:-1]))
        equal(ours.step(IDS[-1:]), theirs.step(IDS[-1:]))
        assert ours.lengths[0] == onnx_writer.WINDOW

    def test_keeps_rows_and_begins_others_with_them(self, device, host):
        ours, theirs = both(device, host)
        for decoder in (ours, theirs):
            decoder.prefill(0, IDS[:20])
        kept, kept_too = ours.save(0), theirs.save(0)
        for decoder, row in ((ours, kept), (theirs, kept_too)):
            decoder.step([1])
            decoder.copy(0, 1)
            decoder.load(2, row, 11)
            decoder.truncate(0, 5)
        assert ours.lengths[:3] == theirs.lengths[:3] == [5, 21, 11]
        equal(ours.step([2, 3, 4]), theirs.step([2, 3, 4]))
        equal(ours.prefill(2, IDS[:9]), theirs.prefill(2, IDS[:9]))

    def test_computes_prompts_in_chunks_without_changing_a_bit(self, device, monkeypatch):
        whole = device.decoder().prefill(0, IDS[:30], keep=30)
        monkeypatch.setattr("llmbuilder.engine.cuda.decoder.DEVICE_CHUNK", 7)
        equal(device.decoder().prefill(0, IDS[:30], keep=30), whole)

    def test_cuts_prompts_at_borders_only_however_they_are_handed_in(self, device, monkeypatch):
        monkeypatch.setattr("llmbuilder.engine.cuda.decoder.DEVICE_CHUNK", 8)
        decoder, sizes = device.decoder(), []
        run = decoder._run_chunk
        monkeypatch.setattr(
            decoder, "_run_chunk", lambda slot, ids, keep: sizes.append(len(ids)) or run(slot, ids, keep)
        )
        filling = decoder.begin(0, IDS[:21])
        while not filling.finished:
            filling.advance(3)
        decoder.prefill(1, IDS[:5])
        decoder.prefill(1, IDS[5:21])
        assert sizes == [8, 8, 5, 5, 3, 8, 5]

    @pytest.mark.parametrize("length", [15, 16, 17])
    def test_a_half_computed_row_stays_as_it_is_while_others_step(self, device, host, length):
        ours, theirs = both(device, host, rows=2)
        for decoder in (ours, theirs):
            decoder.prefill(0, IDS[:3])
            decoder.prefill(1, IDS[:length])
        for token in (1, 2, 3):
            equal(ours.step([token]), theirs.step([token]))
        equal(ours.prefill(1, IDS[length:40]), theirs.prefill(1, IDS[length:40]))

    def test_every_step_computes_all_rows_so_that_none_depends_on_their_number(self, device):
        alone, together = device.decoder(), device.decoder()
        alone.prefill(0, IDS[:6])
        together.prefill(0, IDS[:4])
        together.prefill(1, IDS[:6])
        equal(together.step([3, 5])[1], alone.step([5])[0])


def test_a_forked_child_is_told_to_load_the_model_itself(tmp_path):
    def refuse():
        raise DeviceError("CUDA cannot be used in forked processes")

    model = load(tmp_path / "device.onnx", place=Place("cpu"), load_anew=refuse)
    decoder = model.decoder()
    decoder.prefill(0, IDS[:4])
    row = decoder.save(0)
    model.after_fork()
    for work in (
        model.decoder,
        lambda: decoder.step([1]),
        lambda: decoder.prefill(0, IDS[:3]),
        lambda: decoder.copy(0, 1),
        lambda: decoder.save(0),
        lambda: decoder.load(1, row, 2),
    ):
        with pytest.raises(DeviceError, match="forked"):
            work()


class TestWorkspaces:
    def test_are_given_back_when_a_computation_is_over(self, device):
        for _ in range(20):
            decoder = device.decoder(rows=2)
            decoder.prefill(0, IDS[:3])
            decoder.step([1])
            del decoder
            gc.collect()
        assert device.graphs_captured == 1

    def test_of_computations_at_a_time_are_different_ones(self, device):
        decoders = [device.decoder() for _ in range(3)]
        for number, decoder in enumerate(decoders):
            decoder.prefill(0, [number, number])
            decoder.step([number])
        assert device.graphs_captured == 3

    @pytest.mark.parametrize(
        ("deterministic", "rows", "size"),
        [(True, 1, 8), (True, 8, 8), (True, 9, 16), (True, 100, 128), (False, 1, 1), (False, 5, 8)],
    )
    def test_have_few_numbers_of_rows_where_bits_must_not_depend_on_them(
        self, tmp_path, deterministic, rows, size
    ):
        model = load(tmp_path / "m.onnx", place=Place("cpu"), deterministic=deterministic)
        decoder = model.decoder(rows=rows)
        assert (decoder.cache.slots, decoder.cache.capacity) == (size, onnx_writer.WINDOW)

    @pytest.mark.parametrize(("share_of_window", "capacity"), [(2, 96), (1, 96), (0.6, 32), (0.1, 16)])
    def test_have_room_for_the_window_where_a_part_of_the_card_suffices_for_it(
        self, device, monkeypatch, share_of_window, capacity
    ):
        part = share_of_window * 2 * onnx_writer.WINDOW * device.bytes_per_token
        monkeypatch.setattr(Place, "total_bytes", lambda _: int(8 * part))
        assert device.decoder(rows=2, capacity=1).cache.capacity == capacity

    def test_that_nobody_uses_are_freed_where_the_device_has_no_room_for_another(self, device, monkeypatch):
        small = device.decoder(rows=2)
        small.prefill(0, IDS[:3])
        del small
        gc.collect()
        allocate, failures = Place.empty, iter([True])

        def short_of_memory(place, shape, dtype):
            if next(failures, False):
                raise DeviceError("no room")
            return allocate(place, shape, dtype)

        monkeypatch.setattr(Place, "empty", short_of_memory)
        larger = device.decoder(rows=4)
        assert (larger.cache.slots, device._workspaces.idle_bytes) == (4, 0)
        failures = iter([True, True])
        with pytest.raises(DeviceError, match="no room"):
            device.decoder(rows=8)

    def test_that_could_not_be_moved_into_are_given_back_and_the_rows_stay(self, device, monkeypatch):
        decoder = device.decoder(rows=2)
        decoder.prefill(0, IDS[:5])
        expected = np.array(decoder.step([1]))
        decoder.truncate(0, 5)
        moving = device._workspaces.mover.move

        def fail(*slabs, count=1, **options):
            if count > 1:  # the rows that grow, not the zeros of the new workspace
                raise DeviceError("the card failed")
            moving(*slabs, count=count, **options)

        with monkeypatch.context() as patch:
            patch.setattr(device._workspaces.mover, "move", fail)
            with pytest.raises(DeviceError, match="the card failed"):
                decoder.prefill(3, IDS[:5])
        assert device._workspaces.idle_bytes > 0
        equal(decoder.step([1]), expected)

    def test_hold_zeros_at_first_because_no_mask_takes_nan_away(self, device, monkeypatch):
        empty = Place.empty

        def dirty(place, shape, dtype):
            value = empty(place, shape, dtype)
            if dtype is np.uint8:
                value.update_inplace(np.full(shape, 0xFF, np.uint8))  # NaN in every type
            return value

        monkeypatch.setattr(Place, "empty", dirty)
        decoder = device.decoder()
        row = decoder.save(0)
        decoder.load(1, row, 1)
        decoder.prefill(0, IDS[:3])
        assert np.isfinite(decoder.step([1, 2])).all()
