"""What a metric is: its name, kind, unit and meaning, and how many values its labels may have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ENDINGS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
"""Under which endings each kind is scraped."""


@dataclass(frozen=True, slots=True)
class Label:
    """What may stand in a label: one of `values`, or up to `most` values that match `pattern`."""

    values: tuple[str, ...] = ()
    pattern: str = ""
    most: int = 0
    says: str = ""

    def allows(self, value: str) -> bool:
        """Whether a value may stand here."""
        return value in self.values or bool(self.pattern and re.fullmatch(self.pattern, value))

    def bound(self) -> int:
        """The most values there can be."""
        return len(self.values) + self.most

    def text(self) -> str:
        """The values, for people."""
        return self.says or ", ".join(self.values)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is that of its value; histograms carry their upper bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: Mapping[str, Label] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    def series_max(self) -> int:
        """The most series of it that one process can have."""
        found = len(self.buckets) + 3 if self.kind == "histogram" else 1
        for label in self.labels.values():
            found *= label.bound()
        return found
