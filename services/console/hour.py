"""The last hour of the metrics, sampled in memory: what the overview needs that a counter alone does not tell.

A sample is the state of counters and buckets at an instant, so any two of them give the rate and the quantiles
between. It knows this process only; over processes and days, Prometheus knows.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from services.telemetry.metrics import Metrics

SAMPLE_EVERY_S = 5.0
MINUTE_S = 60.0
MINUTES = 60
STAGES = ("meta", "append", "resolve", "total")

Cumulative = Sequence[tuple[float, float]]
"""A histogram at an instant: upper bounds in seconds and the number of observations at or below each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters by name and label, and the echo latency's buckets by stage, at an instant."""

    at: float
    counts: Mapping[str, float]
    echo: Mapping[str, Cumulative]


class Hour:
    """Samples of the last minute every few seconds, and of the last hour every minute."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        first = self.now()
        self._recent: deque[Sample] = deque([first], maxlen=int(MINUTE_S / SAMPLE_EVERY_S) + 1)
        self._minutes: deque[Sample] = deque([first], maxlen=MINUTES + 1)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            self.take()

    def take(self) -> None:
        """Keep a sample of this instant."""
        sample = self.now()
        self._recent.append(sample)
        if sample.at - self._minutes[-1].at >= MINUTE_S:
            self._minutes.append(sample)

    def now(self) -> Sample:
        """The metrics of this instant."""
        metrics = self._metrics
        counted = (
            ("items", metrics.items),
            ("messages", metrics.messages),
            ("duplicates", metrics.duplicates),
            ("sends", metrics.sends),
            ("requests", metrics.requests),
        )
        counts = {f"{name}.{label}": value for name, counter in counted for label, value in _values(counter)}
        return Sample(self._clock(), counts, _buckets(metrics.echo.collect()))

    def last_minute(self) -> tuple[Sample, Sample]:
        """The samples at both ends of the last minute, or of the time since the start."""
        return self._recent[0], self.now()

    def last_hour(self) -> tuple[Sample, Sample]:
        """The samples at both ends of the last hour, or of the time since the start."""
        return self._minutes[0], self.now()

    def minutes(self) -> list[tuple[Sample, Sample]]:
        """The minutes of the last hour, oldest first; the last one is the one that runs."""
        marks = [*self._minutes, self.now()]
        return list(itertools.pairwise(marks))


def counted(sample: Sample, prefix: str) -> dict[str, int]:
    """The counts of one metric by label, such as `items` by kind."""
    start = len(prefix) + 1
    return {name[start:]: int(value) for name, value in sample.counts.items() if name.startswith(f"{prefix}.")}


def rate(before: Sample, now: Sample, prefix: str, labels: Iterable[str] = ()) -> float:
    """Events per second between two samples, of some labels or of all."""
    wanted = set(labels)
    old, new = counted(before, prefix), counted(now, prefix)
    grown = sum(value - old.get(label, 0) for label, value in new.items() if not wanted or label in wanted)
    return grown / max(1.0, now.at - before.at)


def latencies(before: Sample, now: Sample) -> dict[str, dict[str, float]]:
    """Of each stage that saw an echo between two samples: `count`, `p50_ms` and `p99_ms`."""
    found = {}
    for stage in STAGES:
        grown = _difference(before.echo.get(stage, ()), now.echo.get(stage, ()))
        if grown and (count := grown[-1][1]):
            p50, p99 = (round(1000 * quantile(grown, share), 2) for share in (0.5, 0.99))
            found[stage] = {"count": int(count), "p50_ms": p50, "p99_ms": p99}
    return found


def quantile(buckets: Cumulative, share: float) -> float:
    """The quantile in seconds, even within a bucket, as Prometheus computes it; the last finite bound at most."""
    wanted, lower, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


def _difference(before: Cumulative, now: Cumulative) -> Cumulative:
    old = dict(before)
    return [(bound, count - old.get(bound, 0.0)) for bound, count in now]


def _values(counter: Counter) -> Iterable[tuple[str, float]]:
    for metric in counter.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total") and sample.value:
                yield ".".join(sample.labels.values()), sample.value


def _buckets(metrics: Iterable[Any]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for metric in metrics:
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                found.setdefault(sample.labels["stage"], []).append((float(sample.labels["le"]), sample.value))
    return found
