"""Numbers for Prometheus, named as vLLM names its own."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily

from llmbuilder.decoding.completion import FinishReason

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    600.0,
)


class _Part(Protocol):
    @property
    def ids(self) -> tuple[int, ...]: ...

    @property
    def finish_reason(self) -> FinishReason | None: ...


class _Load(Protocol):
    @property
    def load(self) -> tuple[int, int]: ...


class Metrics:
    """What a server counts. No text, and nothing of who asked."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.models: dict[str, _Load] = {}
        self.registry.register(self)
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self._generated = self._counter("generation_tokens", "New tokens.")
        self._ended = self._counter("request_success", "Texts that ended.", "finished_reason")
        self._answers = Counter(
            "llmb:http_requests", "Answers.", ["method", "path", "status"], registry=self.registry
        )
        self._first = self._histogram("time_to_first_token_seconds", "From request to first token.")
        self._between = self._histogram("inter_token_latency_seconds", "From token to token.")
        self._whole = self._histogram("e2e_request_latency_seconds", "From request to last token.")

    def collect(self) -> "Iterator[GaugeMetricFamily]":
        """How much runs and waits at the moment."""
        names = (
            ("num_requests_running", "Requests that run."),
            ("num_requests_waiting", "Requests that wait."),
        )
        for number, (name, text) in enumerate(names):
            family = GaugeMetricFamily(f"llmb:{name}", text, labels=["model_name"])
            for model, served in self.models.items():
                family.add_metric([model], served.load[number])
            yield family

    def watch(self, model: str, prompt_tokens: int, begun: float) -> "Watch":
        """Follow a request that began at ``begun`` of the monotonic clock."""
        self._prompt.labels(model).inc(prompt_tokens)
        numbers = _Numbers(
            generated=self._generated.labels(model),
            ended=partial(self._ended.labels, model),
            first=self._first.labels(model),
            between=self._between.labels(model),
            whole=self._whole.labels(model),
        )
        return Watch(numbers, begun)

    def count_answer(self, method: str, path: str, status: int) -> None:
        """Note an answer; ``path`` is one that the server knows."""
        self._answers.labels(method, path, str(status)).inc()

    def text(self) -> bytes:
        """All numbers, in Prometheus' form."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"llmb:{name}", text, ["model_name", *labels], registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"llmb:{name}", text, ["model_name"], buckets=_SECONDS, registry=self.registry)


class _Numbers(NamedTuple):
    """Those of one model that a request changes."""

    generated: Counter
    ended: Callable[[FinishReason], Counter]
    first: Histogram
    between: Histogram
    whole: Histogram


class Watch:
    """What is counted of one request."""

    def __init__(self, numbers: _Numbers, begun: float) -> None:
        """Count from ``begun`` on."""
        self._numbers = numbers
        self._begun = begun
        self._last: float | None = None

    def note(self, parts: Sequence[_Part]) -> None:
        """Count what came."""
        now, numbers = time.monotonic(), self._numbers
        numbers.generated.inc(sum(len(part.ids) for part in parts))
        if self._last is None:
            numbers.first.observe(now - self._begun)
        else:
            numbers.between.observe(now - self._last)
        self._last = now
        reasons = [part.finish_reason for part in parts if part.finish_reason is not None]
        for reason in reasons:
            numbers.ended(reason).inc()
        if reasons:
            numbers.whole.observe(now - self._begun)
