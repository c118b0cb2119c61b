import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from llmbuilder.bundle.manifest import WEIGHTS_NAME
from llmbuilder.engine.installation import BUILDS, check_installation, runtime_name
from llmbuilder.engine.loading import load_engine
from llmbuilder.engine.session import WIDENED, open_session
from llmbuilder.errors import BundleError, ConfigError, DeviceError

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"


@pytest.fixture
def installed(monkeypatch):
    """Pretend that only these distributions are installed."""

    def install(*names):
        versions = dict.fromkeys(names, "1.30.0")
        monkeypatch.setattr("llmbuilder.installed.version", versions.get)
        monkeypatch.setattr("llmbuilder.installed.has", versions.__contains__)

    return install


@pytest.fixture
def runtime(monkeypatch, installed):
    """A fake ONNX Runtime; ``sessions`` holds what was opened."""
    installed("onnxruntime")
    fake = SimpleNamespace(
        __version__="1.30.0",
        available=["CPUExecutionProvider"],
        started=None,
        preloaded=0,
        printed="",
        sessions=[],
    )

    class SessionOptions:
        def __init__(self):
            self.entries = {}

        def add_session_config_entry(self, name, value):
            self.entries[name] = value

    class InferenceSession:
        def __init__(self, path, options, providers, *, enable_fallback=True):
            if not Path(path).is_file():
                raise RuntimeError(f"NO_SUCHFILE {path}")
            names = [each if isinstance(each, str) else each[0] for each in providers]
            self.options, self.providers = options, fake.started or names
            self.settings, self.falls_back = providers[0][1], enable_fallback
            fake.sessions.append(self)

        def get_providers(self):
            return [*self.providers, "CPUExecutionProvider"]

    def preload_dlls():
        fake.preloaded += 1
        print(fake.printed)

    fake.SessionOptions, fake.InferenceSession, fake.preload_dlls = (
        SessionOptions,
        InferenceSession,
        preload_dlls,
    )
    fake.get_available_providers = lambda: fake.available
    fake.set_default_logger_severity = lambda severity: None
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


@pytest.fixture
def cuda(runtime, monkeypatch):
    """The same with a card."""
    runtime.available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("llmbuilder.engine.cuda.starting.card", lambda index: None)
    return runtime


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    return path


def opened(graph, built_for="cpu", device="auto", threads=None, **options):
    return open_session(graph, built_for=built_for, device=device, threads=threads, **options)


class TestInstallation:
    def test_one_build_is_fine(self, installed):
        installed("onnxruntime")
        check_installation()
        installed("onnxruntime-gpu")
        check_installation()

    def test_two_builds_over_each_other_are_refused_with_what_to_type(self, installed):
        installed("onnxruntime", "onnxruntime-gpu")
        with pytest.raises(
            DeviceError, match=r"overwrite each other.*pip uninstall onnxruntime onnxruntime-gpu.*pip install"
        ):
            check_installation()

    def test_none_is_refused_with_what_to_type(self, installed, monkeypatch):
        installed()
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(
            DeviceError, match=r'not installed.*pip install "onnxruntime\W.*pip install "onnxruntime-gpu\W'
        ):
            check_installation()

    def test_a_build_without_metadata_will_do(self, installed, monkeypatch):
        installed()
        monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=object))
        check_installation()

    @pytest.mark.parametrize("rest", [None, ModuleType("onnxruntime")], ids=["gone", "empty"])
    def test_what_is_left_of_a_build_is_refused_with_what_to_type(self, installed, monkeypatch, rest):
        installed("onnxruntime")
        monkeypatch.setitem(sys.modules, "onnxruntime", rest)
        with pytest.raises(
            DeviceError, match=r"onnxruntime is installed but cannot be used.*pip uninstall.*pip install"
        ):
            check_installation()

    def test_a_bundle_that_is_loaded_looks_once(self, monkeypatch):
        looked = []
        monkeypatch.setattr("llmbuilder.installed.has", lambda name: looked.append(name) or name == BUILDS[0])
        load_engine(DEMO)
        assert looked == list(BUILDS)

    def test_its_name_and_version_are_told_without_loading_it(self, installed, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        installed("onnxruntime-gpu")
        assert runtime_name() == "onnxruntime-gpu 1.30.0"

    def test_a_build_without_metadata_has_no_version(self, installed, monkeypatch):
        installed()
        monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=object))
        assert runtime_name() == "onnxruntime"

    def test_none_and_two_have_no_name(self, installed, monkeypatch):
        installed("onnxruntime", "onnxruntime-gpu")
        with pytest.raises(DeviceError, match="overwrite each other"):
            runtime_name()
        installed()
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(DeviceError, match="not installed"):
            runtime_name()


class TestDevice:
    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_a_cpu_bundle_runs_on_the_cpu(self, runtime, graph, device):
        assert opened(graph, device=device).providers == ["CPUExecutionProvider"]

    @pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "cpu:0", "CUDA", ["cpu"], None, 0])
    def test_an_unknown_device_is_refused(self, runtime, graph, device):
        with pytest.raises(
            ConfigError, match=re.escape(f"'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}")
        ):
            opened(graph, device=device)

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_a_cpu_bundle_is_refused_on_a_card_with_what_to_do(self, cuda, graph, device):
        with pytest.raises(DeviceError, match=f"cannot run on {device}.*again with --device cuda"):
            opened(graph, built_for="cpu", device=device)
        assert cuda.sessions == []

    def test_a_cuda_bundle_runs_on_the_cpu_only_if_that_is_asked_for(self, runtime, graph):
        assert opened(graph, built_for="cuda", device="cpu").providers == ["CPUExecutionProvider"]
        with pytest.raises(DeviceError, match=r"exported for cuda.*no CUDA support.*device='cpu'.*slowly"):
            opened(graph, built_for="cuda")

    @pytest.mark.parametrize("device", ["auto", "cuda"])
    def test_cuda_without_cuda_is_refused_and_never_falls_back(self, runtime, graph, device):
        with pytest.raises(DeviceError, match=r"no CUDA support.*onnxruntime-gpu"):
            opened(graph, built_for="cuda", device=device)
        assert runtime.sessions == []

    def test_cuda_that_fails_to_start_is_refused(self, cuda, graph):
        cuda.started = ["CPUExecutionProvider"]
        with pytest.raises(DeviceError, match=r"fell back to CPUExecutionProvider.*cuDNN 9.*docs/cuda.md"):
            opened(graph, built_for="cuda")

    def test_cuda_libraries_are_loaded_first(self, cuda, graph):
        assert opened(graph, built_for="cuda").providers == ["CUDAExecutionProvider"]
        assert cuda.preloaded == 1

    def test_missing_libraries_are_named_and_nothing_is_printed(self, cuda, graph, capsys):
        cuda.printed = "Failed to load libcublasLt.so.13: cannot open shared object file\nPlease follow ..."
        with pytest.raises(DeviceError, match=r"libraries are missing: libcublasLt.so.13\. .*cuDNN 9"):
            opened(graph, built_for="cuda")
        assert capsys.readouterr() == ("", "")

    def test_a_card_is_chosen_by_its_number(self, cuda, graph):
        session = opened(graph, built_for="cuda", device="cuda:3")
        assert session.settings["device_id"] == "3"
        assert not session.falls_back

    @pytest.mark.parametrize(("deterministic", "kernel"), [(True, "1"), (False, None)])
    def test_attention_is_the_same_from_run_to_run_unless_named_otherwise(
        self, cuda, graph, deterministic, kernel
    ):
        session = opened(graph, built_for="cuda", deterministic=deterministic)
        assert session.settings.get("sdpa_kernel") == kernel
        assert session.settings["enable_cuda_graph"] == "1"

    @pytest.mark.parametrize(("deterministic", "tried"), [(True, None), (False, "1")])
    def test_kernels_are_tried_out_only_where_results_may_differ(self, cuda, graph, deterministic, tried):
        options = opened(graph, built_for="cuda", deterministic=deterministic).options
        assert options.entries.get("ep.cuda.enable_gemm_auto_tune") == tried

    def test_a_graph_that_cannot_be_loaded_is_named(self, runtime, tmp_path):
        with pytest.raises(
            BundleError, match=r"ONNX Runtime 1\.30\.0 cannot load .*gone\.onnx \(NO_SUCHFILE.*Export"
        ):
            opened(tmp_path / "gone.onnx")


class TestThreads:
    def test_are_set_as_asked(self, runtime, graph):
        assert opened(graph, threads=3).options.intra_op_num_threads == 3

    def test_are_those_of_the_process_by_default(self, runtime, graph, monkeypatch):
        monkeypatch.setattr("llmbuilder.engine.session.available_threads", lambda: 6)
        options = opened(graph).options
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (6, 1)

    @pytest.mark.parametrize("threads", [0, -2, "2", 1.5, True, [1], 1025, 10**9])
    def test_what_is_no_number_of_threads_is_refused(self, runtime, graph, threads):
        with pytest.raises(ConfigError, match=re.escape(f"from 1 to 1024, or None, got {threads!r}")):
            opened(graph, threads=threads)


class TestPacking:
    PARALLEL = "session.prepack.enable_parallel"

    @pytest.fixture
    def weights(self, graph, monkeypatch):
        """Beside the graph, where there is memory for four of them."""
        weights = graph.with_name(WEIGHTS_NAME)
        weights.write_bytes(bytes(1000))
        monkeypatch.setattr("llmbuilder.engine.session.recent_memory", lambda: 4000)
        return weights

    def test_is_parallel_where_threads_are_left_beside_the_tokenizer(self, runtime, graph, weights):
        assert opened(graph, threads=3).options.entries[self.PARALLEL] == "1"

    def test_is_not_with_two_threads(self, runtime, graph, weights):
        assert self.PARALLEL not in opened(graph, threads=2).options.entries

    @pytest.mark.parametrize("free", [3999, None])
    def test_is_not_where_memory_is_short_or_not_known(self, runtime, graph, weights, monkeypatch, free):
        monkeypatch.setattr("llmbuilder.engine.session.recent_memory", lambda: free)
        assert self.PARALLEL not in opened(graph, threads=3).options.entries

    def test_is_not_without_weights(self, runtime, graph, weights):
        weights.unlink()
        assert self.PARALLEL not in opened(graph, threads=3).options.entries

    def test_changes_no_bit(self, monkeypatch):
        found = []
        for parallel in (False, True):
            monkeypatch.setattr(
                "llmbuilder.engine.session.packs_in_parallel", lambda *_, chosen=parallel: chosen
            )
            engine = load_engine(DEMO, threads=3)
            decoder = engine.model.decoder()
            found.append([np.array(decoder.prefill(0, [1, 2, 3])), np.array(decoder.step([4]))])
        assert all(map(np.array_equal, *found))


@pytest.mark.parametrize("widened", [False, True])
def test_weights_are_widened_by_an_option(runtime, graph, widened):
    assert (WIDENED in opened(graph, widened=widened).options.entries) == widened
