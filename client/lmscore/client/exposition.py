"""What a server's metrics endpoint says, and how that changes between two readings."""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

MAX_BYTES = 16 * 2**20  # more than any server of ours has to say


class ExpositionError(Exception):
    """The metrics could not be read; the message says from where and why."""


@dataclass(frozen=True)
class Sample:
    """One number with its labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Reading:
    """All metrics at one moment."""

    at: float  # seconds of time.monotonic()
    samples: Mapping[str, tuple[Sample, ...]]  # by name, as they are written

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series that have these labels; 0 if there are none."""
        return sum(sample.value for sample in self._having(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same, apart by the values of a label."""
        sums: dict[str, float] = defaultdict(float)
        for sample in self._having(name, labels):
            sums[sample.labels.get(label, "")] += sample.value
        return dict(sums)

    def series(self, name: str) -> tuple[Sample, ...]:
        """All series of a metric."""
        return self.samples.get(name, ())

    def _having(self, name: str, labels: Mapping[str, str]) -> list[Sample]:
        wanted = labels.items()
        return [sample for sample in self.series(name) if wanted <= sample.labels.items()]


@dataclass(frozen=True)
class Change:
    """What has happened between two readings."""

    before: Reading
    after: Reading

    @property
    def seconds(self) -> float:
        """The time between them."""
        return max(self.after.at - self.before.at, 1e-9)

    def rate(self, name: str, **labels: str) -> float:
        """Growth of a counter a second; a server that was restarted has counted from 0."""
        before, after = self.before.total(name, **labels), self.after.total(name, **labels)
        return (after - before if after >= before else after) / self.seconds

    def mean(self, histogram: str, **labels: str) -> float:
        """Mean of what was observed between the readings; NaN if nothing was."""
        count = self.rate(f"{histogram}_count", **labels)
        return self.rate(f"{histogram}_sum", **labels) / count if count else math.nan

    def quantile(self, share: float, histogram: str, **labels: str) -> float:
        """A quantile of what was observed between the readings, as Prometheus estimates it.

        Within a bucket values count as spread evenly; beyond the last bound, that bound is given.
        NaN if nothing was observed.
        """
        name = f"{histogram}_bucket"
        bounds = sorted((float(le), le) for le in self.after.by(name, "le", **labels))
        counts = [self.rate(name, **labels, le=le) for _, le in bounds]
        if not counts or not counts[-1]:
            return math.nan
        rank = share * counts[-1]
        place = next(i for i, count in enumerate(counts) if count >= rank)
        upper = bounds[place][0]
        lower, below = (bounds[place - 1][0], counts[place - 1]) if place else (0.0, 0.0)
        if math.isinf(upper):
            return lower
        inside = counts[place] - below
        return lower + (upper - lower) * ((rank - below) / inside if inside else 1.0)


def read(address: str, timeout: float = 5.0) -> Reading:
    """Ask an endpoint, given as HOST:PORT or a URL. Raises ExpositionError."""
    url = address if "://" in address else f"http://{address}/metrics"
    if not url.startswith(("http://", "https://")):
        raise ExpositionError(f"{address} is neither HOST:PORT nor an http address")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - it is http
            text = response.read(MAX_BYTES).decode()
    except urllib.error.HTTPError as error:
        raise ExpositionError(f"{url} answers {error.code} {error.reason}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", None) or error
        needs = "the server tells its metrics only with --metrics HOST:PORT"
        raise ExpositionError(f"cannot read {url}: {reason}; {needs}") from None
    return parse(text, time.monotonic())


def parse(text: str, at: float) -> Reading:
    """A reading from Prometheus' text format. Raises ExpositionError for anything else."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append(Sample(sample.labels, float(sample.value)))
    except ValueError as error:
        raise ExpositionError(f"this is not Prometheus' text format: {error}") from None
    return Reading(at, {name: tuple(found) for name, found in samples.items()})
