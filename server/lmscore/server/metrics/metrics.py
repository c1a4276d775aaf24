"""Turns what the server tells of its work into metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from lmscore.models.decoding.text_batch import Event, Finished, Token
from lmscore.models.language_model import BatchScores
from lmscore.server.call import Call
from lmscore.server.metrics.catalogue import (
    CallMetrics,
    GenerationMetrics,
    ModelMetrics,
    TextMetrics,
    WorkMetrics,
)
from lmscore.server.metrics.counted_calls import CountedCalls
from lmscore.server.metrics.of_model import ABANDONED, OfModel
from lmscore.server.observer import Ending, Observer
from lmscore.server.repository import ServedModel


class Metrics(Observer):
    """All metrics of a server, in a registry of prometheus-client.

    Finding the time series of a label takes longer than counting, so each model keeps its own at
    hand. Calls, texts and distributions are behind until the next `refresh`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._calls = CountedCalls(CallMetrics(registry), self._name)
        self._work = WorkMetrics(registry)
        self._texts = TextMetrics(registry)
        self._generation = GenerationMetrics(registry)
        self._about = ModelMetrics(registry)
        self._unknown = OfModel("", self._work, self._texts, self._generation)
        self._models: dict[str, OfModel] = {}
        self._depths: dict[str, tuple[int, int]] = {}
        self._probes: list[Callable[[], None]] = []
        self._refreshing = threading.Lock()

    def add_probe(self, probe: Callable[[], None]) -> None:
        """Have something called at every refresh that tells what is not told as it happens."""
        self._probes.append(probe)

    def refresh(self) -> None:
        """Count what waits to be; before a scrape in this process, and every now and then."""
        with self._refreshing:
            for probe in self._probes:
                probe()
            for queue, (requests, tokens) in list(self._depths.items()):
                self._work.queue_depth.labels(queue).set(requests)
                self._work.queue_tokens.labels(queue).set(tokens)
            self._calls.count()
            for model in (self._unknown, *list(self._models.values())):
                model.observe()

    # Calls

    def began(self, call: Call, metadata: Mapping[str, str]) -> None:
        """Count a call that runs."""
        del metadata
        self._calls.began(call.method)

    def ended(self, call: Call, ending: Ending) -> None:
        """Count a call that does not run any more."""
        self._calls.ended(call, ending)

    # Models

    def announced(self, model: str) -> None:
        """Begin the time series of a model, at zero."""
        if model not in self._models:
            self._models[model] = OfModel(model, self._work, self._texts, self._generation)
            self._about.load_failures.labels(model)

    def loaded(self, served: ServedModel, seconds: float) -> None:
        """Tell of a model that answers."""
        self.announced(served.name)
        self._about.load_duration.labels(served.name).observe(seconds)
        self._present(served, 1)

    def load_failed(self, model: str) -> None:
        """Count a model that could not be read."""
        self._about.load_failures.labels(self._name(model)).inc()

    def unloaded(self, served: ServedModel) -> None:
        """Tell that a model is gone. Several processes cannot take a time series back."""
        self._present(served, 0)

    def _present(self, served: ServedModel, present: int) -> None:
        name, version, about = served.name, str(served.version), served.model.description
        self._about.loaded.labels(name, version, about.kind, served.fingerprint).set(present)
        self._about.memory.labels(name, version).set(present * about.memory_bytes)

    # Texts

    def scored(self, model: str, scores: BatchScores) -> None:
        """Count the tokens of a request, and how likely its texts are."""
        self._of(model).texts.add(scores)

    # Generating

    def first_token(self, model: str, seconds: float) -> None:
        """Note how long a call waited for its first token."""
        self._of(model).first_token.add(seconds)

    def next_tokens(self, model: str, seconds: float, count: int) -> None:
        """Note how long each of some tokens took."""
        self._of(model).inter_token.extend([seconds] * count)

    def generated(self, model: str, events: Sequence[Event]) -> None:
        """Count tokens and the ends of texts."""
        of = self._of(model)
        of.generated.inc(sum(isinstance(event, Token) for event in events))
        for event in events:
            if isinstance(event, Finished):
                of.finished[event.reason.name].inc()

    def abandoned(self, model: str, texts: int) -> None:
        """Count texts that nobody waits for."""
        self._of(model).finished[ABANDONED].inc(texts)

    def generations(self, model: str, active: int, waiting: int) -> None:
        """Tell how much is generated now."""
        of = self._of(model)
        of.active.set(active)
        of.waiting.set(waiting)

    # Work

    def batch(self, model: str, requests: int, tokens: int, compute_seconds: float) -> None:
        """Note how large a batch was, and how long it took."""
        of = self._of(model)
        of.batch_size.add(requests)
        of.batch_tokens.add(tokens)
        of.compute.add(compute_seconds)

    def queued(self, model: str, seconds: float) -> None:
        """Note how long work waited."""
        self._of(model).queue.add(seconds)

    def depth(self, queue: str, requests: int, tokens: int) -> None:
        """Tell how much waits."""
        self._depths[queue] = requests, tokens  # which changes more often than anybody looks

    def wasted(self, model: str, tokens: int) -> None:
        """Count tokens that nobody waits for."""
        self._of(model).wasted.inc(tokens)

    def refused(self, reason: str) -> None:
        """Count work that found no room."""
        self._work.refused.labels(reason).inc()

    def _of(self, model: str) -> OfModel:
        return self._models.get(model, self._unknown)

    def _name(self, model: str) -> str:
        """A name that may be a label: of a model that this server has."""
        return model if model in self._models else ""
