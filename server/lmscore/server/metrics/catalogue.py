"""Every metric of the server: the one place that names them.

Labels have few values, none of which a caller can choose: names of models that the server has,
methods, codes and reasons. With several processes, a gauge says how theirs become one.
"""

from __future__ import annotations

import platform
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge

from lmscore.server.metrics.histogram import BulkHistogram

PREFIX = "lmscore"

_UNDER_A_SECOND = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
SECONDS = (*_UNDER_A_SECOND, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LOAD_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUESTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
BATCH_TOKENS = (16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0)
TEXT_TOKENS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10000.0)
PERPLEXITIES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6)


class CallMetrics:
    """What is counted of calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, namespace=PREFIX, registry=registry)
        self.requests = counter(
            "requests", "Calls that have ended, by how they did.", ("method", "code", "model")
        )
        self.rejected = counter(
            "rejected_requests", "Calls that ended with an error, by its reason.", ("reason",)
        )
        self.duration = BulkHistogram(
            "request_duration_seconds",
            "Time from a call's arrival to its end.",
            ("method", "model"),
            namespace=PREFIX,
            registry=registry,
            buckets=SECONDS,
        )
        self.running = Gauge(
            "running_calls",
            "Calls in progress.",
            ("method",),
            namespace=PREFIX,
            registry=registry,
            multiprocess_mode="livesum",
        )


class WorkMetrics:
    """What is counted of the work of models and of the queues in front of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = partial(
            BulkHistogram, labelnames=("model",), namespace=PREFIX, registry=registry
        )
        gauge = partial(
            Gauge,
            labelnames=("queue",),
            namespace=PREFIX,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.queue_duration = histogram(
            "queue_duration_seconds", "Time that work waited for its turn.", buckets=SECONDS
        )
        self.compute_duration = histogram(
            "compute_duration_seconds", "Time that a batch was computed in.", buckets=SECONDS
        )
        self.batch_size = histogram(
            "batch_size", "Requests computed as one batch.", buckets=REQUESTS
        )
        self.batch_tokens = histogram("batch_tokens", "Tokens of a batch.", buckets=BATCH_TOKENS)
        self.queue_depth = gauge("queue_depth", "Requests that wait or run.")
        self.queue_tokens = gauge("queue_tokens", "Tokens of requests that wait or run.")
        counter = partial(Counter, namespace=PREFIX, registry=registry)
        self.wasted = counter(
            "wasted_tokens", "Tokens computed for callers who had gone.", ("model",)
        )
        self.refused = counter(
            "refused_work",
            "Work that a queue had no room for; a stream tries again, other calls end with it.",
            ("reason",),
        )


class TextMetrics:
    """What is counted of texts that are scored."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = partial(
            BulkHistogram, labelnames=("model",), namespace=PREFIX, registry=registry
        )
        counter = partial(Counter, labelnames=("model",), namespace=PREFIX, registry=registry)
        self.scored = counter("scored_tokens", "Tokens scored, ends of texts included.")
        self.oov = counter("oov_tokens", "Tokens scored that the vocabulary lacks.")
        self.shared = counter(
            "shared_prefix_tokens", "Tokens that were not computed: another text begins alike."
        )
        self.perplexity = histogram(
            "text_perplexity",
            "Perplexity of each scored text; in the sum, 1e6 stands for any above it.",
            buckets=PERPLEXITIES,
        )
        self.tokens = histogram(
            "text_tokens",
            "Tokens of each scored text, its end included.",
            buckets=TEXT_TOKENS,
        )


class GenerationMetrics:
    """What is counted of texts that are generated."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = partial(
            BulkHistogram,
            labelnames=("model",),
            namespace=PREFIX,
            registry=registry,
            buckets=SECONDS,
        )
        counter = partial(Counter, namespace=PREFIX, registry=registry)
        gauge = partial(
            Gauge,
            labelnames=("model",),
            namespace=PREFIX,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.first_token = histogram(
            "time_to_first_token_seconds", "Time from a call's arrival to its first token."
        )
        self.inter_token = histogram(
            "inter_token_duration_seconds",
            "Time between a text's tokens as its caller gets them; the mean of those sent at once.",
        )
        self.generated = counter("generated_tokens", "Tokens generated.", ("model",))
        self.finished = counter(
            "generation_finished",
            "Texts that have ended, by why.",
            ("model", "reason"),
        )
        self.active = gauge("active_sequences", "Texts that grow by a token with every step.")
        self.waiting = gauge("waiting_generations", "Calls of Generate that wait for a place.")


class ModelMetrics:
    """What is told of the models that there are, and of the program itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, namespace=PREFIX, registry=registry)
        self.loaded = gauge(
            "model_loaded",
            "Processes in which a model answers; 0 when it does no more.",
            ("model", "version", "kind", "fingerprint"),
            multiprocess_mode="livesum",
        )
        self.memory = gauge(
            "model_memory_bytes",
            "Memory that a model takes; of an n-gram, shared among processes.",
            ("model", "version"),
            multiprocess_mode="livemax",
        )
        self.load_duration = BulkHistogram(
            "model_load_duration_seconds",
            "Time in which a model was read and tried.",
            ("model",),
            namespace=PREFIX,
            registry=registry,
            buckets=LOAD_SECONDS,
        )
        self.load_failures = Counter(
            "model_load_failures",
            "Models that could not be read.",
            ("model",),
            namespace=PREFIX,
            registry=registry,
        )
        self.build = gauge(
            "build_info",
            "Always 1; the labels say which versions run.",
            ("version", "python", "torch"),
            multiprocess_mode="livemax",
        )
        self.build.labels(_version("lmscore"), platform.python_version(), _version("torch")).set(1)


def _version(package: str) -> str:
    """A package's version; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
