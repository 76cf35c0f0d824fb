"""Does the sandbox's ledger, which is the truth, agree with what we hold? Row by row, each message exactly once."""

from dataclasses import dataclass, field
from typing import Any

from schemas.topics import INBOUND, SENDS, TIMELINE
from services.demo.meta import MetaInABox
from services.running import App

READ_MAX = 1_000
REPEATS = "repeats dropped"
"""What Meta sent again; all that was known already, our own echoes too, is another figure, on the operator page."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the summary; `ok` None means that it is told, not checked."""

    what: str
    count: Any
    check: str
    ok: bool | None = None


@dataclass
class Audit:
    """All rows, and whether they balance."""

    rows: list[Row] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """No checked row failed."""
        return all(row.ok is not False for row in self.rows)

    @property
    def first_problem(self) -> str:
        """The first row that failed."""
        return next((f"{row.what} {row.count}, {row.check}" for row in self.rows if row.ok is False), "none")

    def check(self, what: str, count: Any, ok: bool, text: str) -> None:  # noqa: FBT001 - a verdict
        """Add a checked row."""
        self.rows.append(Row(what, count, f"{'✓' if ok else '✗'} {text}", ok))


@dataclass
class _Ours:
    items: set[str] = field(default_factory=set)
    added: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    gaps: int = 0


async def audit(app: App, meta: MetaInABox) -> Audit:
    """Compare the ledger with the log."""
    items = await meta.call("GET", "/ledger/items")
    sends = await meta.call("GET", "/ledger/sends")
    ours = await _ours(app)
    acknowledged = {item["wamid"] for item in items if item["acknowledged"] and item["kind"] in ("message", "echo")}
    accepted = {send["wamid"] for send in sends if send.get("wamid")}
    wanted = acknowledged | accepted
    added = set(ours.added)
    found = Audit()
    lost = acknowledged - ours.items
    found.check("webhook items acknowledged", len(acknowledged), not lost, f"in the log, {len(lost)} lost")
    missing = wanted - added
    found.check("messages on timeline", len(added), not missing, f"{len(missing)} missing")
    twice = len(ours.added) - len(added)
    found.check("shown twice", twice, twice == 0, "each exactly once")
    found.check("gaps in seq", ours.gaps, ours.gaps == 0, "seq counts without gaps")
    told = ours.outcomes.get("send.accepted", 0) + ours.outcomes.get("send.resolved", 0)
    found.check("sends accepted", told, told == len(accepted), f"{len(accepted)} in Meta's ledger")
    _tell(found, app, ours)
    return found


def _tell(found: Audit, app: App, ours: _Ours) -> None:
    value = app.metrics.registry.get_sample_value

    own, repeats = known_already(app)
    echoes = int(value("coexist_ingest_items_total", {"kind": "echo"}) or 0)
    found.rows.append(Row("echoes received", echoes, ""))
    found.rows.append(Row(REPEATS, repeats, "what Meta sent again"))
    found.rows.append(Row("own echoes matched", own, ""))
    found.rows.append(Row("sends withdrawn", ours.outcomes.get("send.withdrawn", 0), "a person answered first"))
    found.rows.append(Row("echo latency p50 / p99", f"{quantile(app, 0.5)} / {quantile(app, 0.99)}", "to the timeline"))


def known_already(app: App) -> tuple[int, int]:
    """Echoes of our own sends, and repeats of Meta's, that came and were no news; the operator page adds all kinds."""

    def count(*reasons: str) -> int:
        value = app.metrics.registry.get_sample_value
        return int(sum(value("coexist_duplicates_dropped_total", {"reason": reason}) or 0 for reason in reasons))

    return count("own_echo"), count("redelivery", "status_repeat")


def quantile(app: App, share: float) -> str:
    """An upper bound of the echo latency's quantile, from the histogram's buckets."""
    found = [
        (float(sample.labels["le"]), sample.value)
        for metric in app.metrics.echo.collect()
        for sample in metric.samples
        if sample.name.endswith("_bucket") and sample.labels["stage"] == "total"
    ]
    total = found[-1][1] if found else 0
    bound = next((le for le, count in found if total and count >= share * total), None)
    return "-" if bound is None else f"≤ {bound * 1000:g} ms"


async def _ours(app: App) -> _Ours:
    found = _Ours()
    for partition in range(app.log.partitions):
        for topic in (INBOUND, TIMELINE, SENDS):
            offset = 0
            last: dict[str, int] = {}
            while records := await app.log.read(topic, partition, offset, READ_MAX):
                offset = records[-1].offset + 1
                for record in records:
                    _count(found, topic, record.event.type, record.event.subject)
                    if record.event.seq:
                        found.gaps += record.event.seq != last.get(record.event.number, 0) + 1
                        last[record.event.number] = record.event.seq
    return found


def _count(found: _Ours, topic: str, kind: str, subject: str) -> None:
    if topic == INBOUND:
        found.items.add(subject)
    elif kind == "message.added":
        found.added.append(subject)
    elif topic == SENDS:
        found.outcomes[kind] = found.outcomes.get(kind, 0) + 1
