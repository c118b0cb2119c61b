"""What a report of a fault needs of a machine, and nothing that is private: no names of users or folders."""

import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from llmbuilder import installed

_DISTRIBUTION = "llmbuilder-runtime"
_FOLDERS = re.compile(r"~?(?<!\w)/(?:[^\s/:'\"]+/)+|\b[A-Za-z]:\\(?:[^\s\\'\"]+\\)+")
_NAME = re.compile(r"[\w.-]+")


def diagnose() -> dict[str, Any]:
    """Everything, by name; JSON can hold it."""
    from llmbuilder.engine.limits import available_memory, available_threads
    from llmbuilder.engine.machine import processor_features, processor_name

    return {
        _DISTRIBUTION: metadata.version(_DISTRIBUTION),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": processor_name(),
        "processor features": processor_features(),
        "threads": available_threads(),
        "processors": os.cpu_count(),
        "memory free": available_memory(),
        "ONNX Runtime": _runtime(),
        "providers": _providers(),
        "card": _card(),
        "CUDA": _cuda(),
        "packages": _packages(),
        "files": _files(),
        "exporter": _exporter(),
        "self-test": self_test(),
    }


def self_test() -> str:
    """``passed``, or what is wrong: a graph on the CPU, then a text of a model that knows it by heart."""
    try:
        _compute()
        _generate()
    except Exception as error:  # noqa: BLE001 (whatever it is belongs into the report)
        return f"FAILED: {type(error).__name__}: {without_folders(str(error))}"
    return "passed"


def without_folders(text: str) -> str:
    """A message without the folders that it names: ``/opt/ai/lib.so`` -> ``.../lib.so``."""
    with suppress(RuntimeError):  # nobody's home
        home = str(Path.home())
        text = text.replace(home, "~") if len(home) > 1 else text
    return _FOLDERS.sub(".../", text)


def _compute() -> None:
    import numpy as np
    import onnxruntime as ort

    from llmbuilder.engine.onnxbytes import Node, Value, write_model
    from llmbuilder.engine.session import session_options

    graph = write_model(
        [Node("MatMul", ["a", "b"], ["c"]), Node("Softmax", ["c"], ["p"])],
        [Value("a", np.float32, ["n", "k"]), Value("b", np.float32, ["k", "m"])],
        [Value("c", np.float32, ["n", "m"]), Value("p", np.float32, ["n", "m"])],
    )
    session = ort.InferenceSession(graph, session_options(ort), providers=["CPUExecutionProvider"])
    a = np.arange(64 * 48, dtype=np.float32).reshape(64, 48) % 7
    b = np.arange(48 * 32, dtype=np.float32).reshape(48, 32) % 5
    product, shares = session.run(["c", "p"], {"a": a, "b": b})
    if not np.array_equal(product, a @ b):
        raise ArithmeticError("a product of whole numbers is not exact")
    if not np.allclose(shares.sum(-1), 1, atol=1e-5):
        raise ArithmeticError("a softmax does not add up to 1")


def _generate() -> None:
    from llmbuilder.inference import TextGenerator
    from llmbuilder.testing import fake_engine, scripted

    with TextGenerator.from_engine(fake_engine(scripted("by heart"))) as generator:
        text = generator.generate("x", do_sample=False)
    if text != "by heart":
        raise ArithmeticError(f"the model of the test says {text!r}")


def _runtime() -> str:
    from llmbuilder.engine.installation import check_installation, runtime_name
    from llmbuilder.errors import DeviceError

    try:
        check_installation()
        return runtime_name()
    except DeviceError as error:
        return without_folders(str(error))


def _providers() -> list[str]:
    try:
        import onnxruntime as ort

        return list(ort.get_available_providers())
    except (ImportError, AttributeError):
        return []


def _card() -> str | None:
    from llmbuilder.engine.cuda.card import card
    from llmbuilder.errors import DeviceError

    try:
        found = card(0)
    except DeviceError:
        return None
    memory = f"{found.free_bytes / 1e9:.1f} of {found.total_bytes / 1e9:.1f} GB free"
    return f"{found.name}, {memory}, driver {found.driver or 'unknown'}, for CUDA up to {found.cuda}"


def _cuda() -> str:
    from llmbuilder.engine.cuda.starting import why_not

    reason = why_not(0)
    return "ready" if reason is None else without_folders(reason)


def _files() -> str:
    """Whether another package, such as LLMBuilder's own, has written over our files or taken them away."""
    from llmbuilder.distribution import changed_files

    changed = changed_files()
    return (
        f"NOT as installed: {', '.join(changed[:5])} ({len(changed)} in all)" if changed else "as installed"
    )


def _exporter() -> str:
    from llmbuilder.bundle.exporter import can_export, exporter

    return "in this environment" if can_export() else "in its own" if exporter() else "none"


def _packages() -> dict[str, str | None]:
    """Versions of the packages that this one uses, None where one is not installed; those for developing left out."""
    versions: dict[str, str | None] = {}
    for requirement in metadata.requires(_DISTRIBUTION) or ():
        name = _NAME.match(requirement)
        if name is None or "extra == 'dev'" in requirement.replace('"', "'"):
            continue
        versions[name[0]] = installed.version(name[0])
    return versions
