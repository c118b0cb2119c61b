import gc
import threading
import weakref

import pytest

from llmbuilder import forking
from llmbuilder.bundle.manifest import MANIFEST_NAME
from llmbuilder.engine import loading as module
from llmbuilder.engine.loading import Engine, acquire, load_engine
from llmbuilder.errors import BundleError, ModelNotFoundError, TokenizerError
from llmbuilder.testing import ByteTokenizer, FakeModel, fake_engine, random_rule
from llmbuilder.tokenizer import load_tokenizer

PATIENCE = 600


class Weighty(FakeModel):
    """A fake model that can be watched going away."""


@pytest.fixture
def loads(monkeypatch):
    """An empty registry over fake models; returns the directories that were loaded."""
    loaded = []

    def load(directory, *, device, threads, deterministic):
        loaded.append(directory.name)
        return Engine(
            model=Weighty(random_rule()),
            tokenizer=ByteTokenizer(),
            bos_token_id=None,
            eos_token_ids=(),
            defaults={},
            bundle=module.open_bundle(directory),
        )

    monkeypatch.setattr(module, "_LOADED", module._Registry())
    monkeypatch.setattr(module, "load_engine", load)
    return loaded


@pytest.fixture
def bundles(make_bundle, tmp_path):
    return [make_bundle(tmp_path / name) for name in "abcd"]


def take(directory, tokenizer=None, device="auto", threads=None, **options):
    return acquire(directory, tokenizer, device=device, threads=threads, **options)


class TestRegistry:
    def test_a_model_is_loaded_once(self, loads, bundles):
        assert take(bundles[0]).engine is take(str(bundles[0])).engine
        assert loads == ["a"]

    def test_another_path_to_the_same_bundle_is_the_same_model(self, loads, bundles, tmp_path):
        (tmp_path / "alias").symlink_to(bundles[0])
        assert take(bundles[0]).engine is take(tmp_path / "alias").engine

    def test_other_threads_or_devices_are_another_model(self, loads, bundles):
        for options in ({}, {"threads": 1}, {"device": "cpu"}, {"deterministic": False}):
            take(bundles[0], **options)
        assert loads == ["a"] * 4

    def test_a_bundle_made_anew_is_loaded_anew(self, loads, bundles):
        take(bundles[0])
        manifest = bundles[0] / MANIFEST_NAME
        copy = manifest.with_name("copy")
        copy.write_bytes(manifest.read_bytes())
        copy.replace(manifest)
        take(bundles[0])
        assert loads == ["a", "a"]

    def test_two_idle_models_are_kept(self, loads, bundles):
        for directory in (*bundles[:2], *bundles[:2]):
            take(directory).close()
        assert loads == ["a", "b"]

    def test_a_third_takes_the_place_of_the_least_recently_used(self, loads, bundles):
        a, b, c, _ = bundles
        for directory in (a, b, a, c, a, b):
            take(directory).close()
        assert loads == ["a", "b", "c", "b"]

    def test_models_in_use_are_never_dropped(self, loads, bundles):
        held = [take(directory) for directory in bundles]
        assert [take(directory).engine for directory in bundles] == [lease.engine for lease in held]
        assert loads == ["a", "b", "c", "d"]

    def test_a_model_is_in_use_until_its_last_user_gives_it_back(self, loads, bundles):
        first, second = take(bundles[0]), take(bundles[0])
        first.close()
        others = [take(directory) for directory in bundles[1:]]
        assert take(bundles[0]).engine is second.engine
        assert len(others) == 3

    def test_who_gives_back_twice_takes_nothing_from_the_others(self, loads, bundles):
        first, second = take(bundles[0]), take(bundles[0])
        for _ in range(2):
            first.close()
        others = [take(directory) for directory in bundles[1:]]
        assert take(bundles[0]).engine is second.engine
        assert len(others) == 3

    def test_giving_back_what_was_dropped_and_loaded_again_disturbs_nobody(self, loads, bundles):
        old = take(bundles[0])
        old.close()
        held = [take(directory) for directory in bundles]
        old.close()
        assert [take(directory).engine for directory in bundles] == [lease.engine for lease in held]

    def test_a_dropped_model_frees_its_memory(self, loads, bundles):
        lease = take(bundles[0])
        model = weakref.ref(lease.engine.model)
        lease.close()
        del lease
        for directory in bundles[1:]:
            take(directory)
        gc.collect()
        assert model() is None

    def test_a_model_that_fails_to_load_is_tried_again(self, loads, bundles, monkeypatch):
        good = module.load_engine

        def fail(*args, **kwargs):
            raise BundleError("damaged")

        monkeypatch.setattr(module, "load_engine", fail)
        with pytest.raises(BundleError, match="damaged"):
            take(bundles[0])
        monkeypatch.setattr(module, "load_engine", good)
        take(bundles[0])
        assert loads == ["a"]

    def test_threads_that_ask_at_once_share_one_load(self, loads, bundles):
        barrier = threading.Barrier(8)
        leases = []

        def work():
            barrier.wait()
            leases.append(take(bundles[0]))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads == ["a"]
        assert len({id(lease.engine) for lease in leases}) == 1


class TestPaths:
    def test_nothing_there_is_a_missing_model(self, loads, tmp_path):
        with pytest.raises(ModelNotFoundError):
            take(tmp_path / "gone")

    def test_a_directory_that_is_no_bundle_is_a_bundle_error(self, loads, tmp_path):
        with pytest.raises(BundleError, match="not a bundle"):
            take(tmp_path)


class TestTokenizerPath:
    @pytest.fixture
    def given(self, tmp_path):
        """A folder with the tokenizer that bundles here have, and another one."""
        directory = tmp_path / "tokenizer"
        directory.mkdir()
        (directory / "any name.model").write_bytes(b"pieces")
        (directory / "another.model").write_bytes(b"other pieces")
        return directory

    @pytest.mark.parametrize("name", ["", "any name.model"])
    def test_the_bundles_own_is_accepted_as_folder_or_file(self, loads, bundles, given, name):
        take(bundles[0], given / name)

    def test_another_is_refused(self, loads, bundles, given):
        with pytest.raises(
            TokenizerError, match=r"another\.model is the one that .* was exported with.*Export .* again"
        ):
            take(bundles[0], given / "another.model")

    def test_a_folder_without_any_is_refused(self, loads, bundles, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(TokenizerError, match="No tokenizer in"):
            take(bundles[0], tmp_path / "empty")

    def test_nothing_there_is_refused(self, loads, bundles, tmp_path):
        with pytest.raises(TokenizerError, match=r"no tokenizer at .*gone.*Leave tokenizer_path out"):
            take(bundles[0], tmp_path / "gone")

    def test_a_refusal_gives_the_model_back(self, loads, bundles, given):
        with pytest.raises(TokenizerError):
            take(bundles[0], given / "another.model")
        for directory in bundles[1:]:
            take(directory)
        take(bundles[0])
        assert loads == ["a", "b", "c", "d", "a"]


class TestLoading:
    @pytest.fixture
    def opened(self, monkeypatch):
        """Replaces ONNX Runtime by a fake model."""
        calls = []

        def open_model(directory, manifest, *, device, threads, cache_bytes, **loaded):
            calls.append((directory, device, threads, cache_bytes))
            return FakeModel(random_rule(), vocab_size=manifest.model.vocab_size)

        monkeypatch.setattr(module.Model, "open", open_model)
        return calls

    def test_takes_facts_and_defaults_from_the_manifest(self, opened, make_bundle, sentencepiece_file):
        directory = make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=400)
        engine = load_engine(directory, device="cpu", threads=3, cache_bytes=1 << 30)
        assert opened == [(directory, "cpu", 3, 1 << 30)]
        assert (engine.bos_token_id, engine.eos_token_ids) == (1, (2,))
        assert engine.defaults == {"temperature": 0.7}
        assert engine.bundle.directory == directory

    def test_a_file_exchanged_while_it_is_loaded_is_found(
        self, opened, make_bundle, sentencepiece_file, monkeypatch
    ):
        directory = make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=400)

        def exchange_and_load(path):
            (directory / "other").write_bytes(path.read_bytes())
            (directory / "other").replace(path)
            return load_tokenizer(path)

        monkeypatch.setattr(module, "load_tokenizer", exchange_and_load)
        with pytest.raises(BundleError, match=r"tokenizer\.model was changed while it was being loaded"):
            load_engine(directory)

    def test_the_tokenizer_is_loaded_beside_the_model(
        self, opened, make_bundle, sentencepiece_file, monkeypatch
    ):
        begun = threading.Event()
        waits = module.Model.open

        def load(path):
            begun.set()
            return load_tokenizer(path)

        def open_model(*bundle, **options):
            assert begun.wait(PATIENCE)
            return waits(*bundle, **options)

        monkeypatch.setattr(module, "load_tokenizer", load)
        monkeypatch.setattr(module.Model, "open", open_model)
        load_engine(make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=400))

    def test_of_a_tokenizer_and_a_model_that_both_fail_the_tokenizer_is_told_of(
        self, opened, make_bundle, monkeypatch
    ):
        def fail(*bundle, **options):
            raise BundleError("no graph")

        monkeypatch.setattr(module.Model, "open", fail)
        with pytest.raises(TokenizerError, match="not a readable SentencePiece model"):
            load_engine(make_bundle(tokenizer=b"no tokenizer", vocab_size=400))

    def test_nobody_forks_between_the_two(self, opened, make_bundle, sentencepiece_file, monkeypatch):
        def load(path):
            assert not forking.LOADING.acquire(blocking=False)
            return load_tokenizer(path)

        monkeypatch.setattr(module, "load_tokenizer", load)
        load_engine(make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=400))

    def test_ids_beyond_the_tokenizer_are_not_usable(self, opened, make_bundle, sentencepiece_file):
        engine = load_engine(make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=400))
        assert engine.usable_vocab == load_tokenizer(sentencepiece_file).vocab_size < 400

    def test_a_tokenizer_larger_than_the_model_is_refused_with_both_sizes(
        self, opened, make_bundle, sentencepiece_file
    ):
        size = load_tokenizer(sentencepiece_file).vocab_size
        directory = make_bundle(tokenizer=sentencepiece_file.read_bytes(), vocab_size=size - 1)
        with pytest.raises(TokenizerError, match=f"has {size} tokens, the model only {size - 1}"):
            load_engine(directory)

    def test_a_damaged_bundle_is_refused_before_anything_parses_it(self, opened, make_bundle):
        directory = make_bundle(tokenizer=b"no tokenizer")
        (directory / "tokenizer.model").write_bytes(b"NO TOKENIZER")
        with pytest.raises(BundleError, match="was changed"):
            load_engine(directory)
        assert opened == []

    @pytest.mark.parametrize("generation", [{"temprature": 1}, {"top_p": 2}])
    def test_bundles_with_unusable_defaults_are_refused(
        self, opened, make_bundle, sentencepiece_file, generation
    ):
        directory = make_bundle(tokenizer=sentencepiece_file.read_bytes(), generation=generation)
        with pytest.raises(
            BundleError, match=rf"manifest\.json has generation defaults .*{next(iter(generation))}"
        ):
            load_engine(directory)
        assert opened == []

    def test_bundles_with_an_unreadable_tokenizer_are_refused(self, opened, make_bundle):
        with pytest.raises(TokenizerError, match="not a readable SentencePiece model"):
            load_engine(make_bundle(tokenizer=b"no tokenizer"))


def test_a_fake_engine_needs_no_bundle():
    engine = fake_engine(random_rule(), context_length=16)
    assert (engine.context_length, engine.usable_vocab, engine.bundle) == (16, 258, None)
