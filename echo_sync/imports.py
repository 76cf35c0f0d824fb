"""The history import of a number: chunks in any order and repeated, what is missing, declined, or silent.

Meta sends three phases in chunks that count within their phase; any may come late, some may never come, and nothing
at all may come although it was accepted (Meta contract 5.3, 5.6, 12.5). So an import has a timer: after 24 hours
without a new chunk it is told as stalled, once, and goes on by itself when more comes.
"""

import copy
from bisect import insort
from typing import Any

from msgspec import UNSET

from echo_sync.lifecycle import OURS
from echo_sync.message import raw_bytes
from schemas.instants import rfc3339
from schemas.items import Item
from schemas.ports import State

STALL_S = 24 * 3600.0
DECLINED_CODE = b"2593109"
"""The business does not share its history (Meta contract 5.6)."""
SPANS_MAX = 1_000
"""Runs of chunks per phase. Meta counts from 1 and reorders a little, so a handful is usual."""
GAPS_TOLD_MAX = 20

HISTORY_ASKED, CONTACTS_ASKED = "HISTORY_ASKED", "CONTACTS_ASKED"


class Import(State):
    """What is known of one number's import. `spans`: by phase, the runs of chunk orders that have come."""

    number: str = ""
    asked_at: float = 0
    contacts_asked_at: float = 0
    spans: dict[int, list[tuple[int, int]]] = {}
    progress: int = 0
    heard_at: float = 0
    declined_at: float = 0
    stalled: bool = False


def import_key(number: str) -> str:
    """Where the import of a number is kept."""
    return f"h/{number}"


def is_asked(item: Item) -> bool:
    """Our own word that a sync was asked for."""
    return item.field == OURS and item.event in (HISTORY_ASKED, CONTACTS_ASKED)


def is_declined(item: Item) -> bool:
    """Meta's word that there will be no history."""
    return item.errors is not UNSET and DECLINED_CODE in raw_bytes(item.errors)


def asked(known: Import, item: Item) -> Import:
    """The import once a sync was asked for: from then on its silence counts."""
    found = copy.copy(known)
    if item.event == CONTACTS_ASKED:
        found.contacts_asked_at = max(known.contacts_asked_at, item.at)
    else:
        found.asked_at = max(known.asked_at, item.at)
    return _timed(found)


def chunk(known: Import, item: Item, now: float) -> Import:
    """The import with one more chunk; itself when the chunk was known and says nothing new."""
    spans = known.spans
    if item.phase is not None and item.chunk_order is not None:
        spans = with_chunk(known.spans, item.phase, item.chunk_order)
    if spans is known.spans and (item.progress or 0) <= known.progress:
        return known
    found = copy.copy(known)
    found.spans = spans
    found.progress = max(known.progress, item.progress or 0)
    found.heard_at = max(known.heard_at, item.received_at or now)
    found.stalled = False
    return _timed(found)


def declined(known: Import, item: Item) -> Import:
    """The import after the business declined; itself when that was known."""
    if known.declined_at:
        return known
    found = copy.copy(known)
    found.declined_at = item.received_at or item.at
    return _timed(found)


def _timed(found: Import) -> Import:
    since = max(found.asked_at, found.heard_at)
    waits = since and not is_complete(found) and not found.stalled and (found.heard_at or not found.declined_at)
    found.wake_at = since + STALL_S if waits else None
    return found


def with_chunk(spans: dict[int, list[tuple[int, int]]], phase: int, order: int) -> dict[int, list[tuple[int, int]]]:
    """The runs with one more chunk; the same object when it stood in one of them already."""
    runs = spans.get(phase, [])
    if any(first <= order <= last for first, last in runs) or len(runs) >= SPANS_MAX:
        return spans
    ordered = list(runs)
    insort(ordered, (order, order))
    joined: list[tuple[int, int]] = []
    for first, last in ordered:
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return {**spans, phase: joined}


def missing(known: Import) -> list[dict[str, int]]:
    """The gaps: chunks that have not come although later ones of their phase have. Meta counts from 1."""
    gaps = []
    for phase, runs in sorted(known.spans.items()):
        due = min(1, runs[0][0])
        for first, last in runs:
            if first > due:
                gaps.append({"phase": phase, "first": due, "last": first - 1})
            due = last + 1
    return gaps[:GAPS_TOLD_MAX]


def is_complete(known: Import) -> bool:
    """All of it has come, as far as Meta tells."""
    return known.progress >= 100 and not missing(known)


def status(known: Import) -> str:
    """One word for people: none, asked, running, complete, declined or stalled."""
    if is_complete(known):
        return "complete"
    if known.stalled:
        return "stalled"
    if known.heard_at:
        return "running"
    if known.declined_at:
        return "declined"
    return "asked" if known.asked_at else "none"


def progress_data(known: Import, item: Item | None) -> dict[str, Any]:
    """The data of `history.progress`: of a chunk, or without one of an import that has fallen silent."""
    data: dict[str, Any] = {"number": known.number, "phase": None, "chunk_order": None, "progress": known.progress}
    if item is None:
        data["stalled"] = True
    else:
        data |= {"phase": item.phase, "chunk_order": item.chunk_order, "progress": item.progress}
        data["at"] = rfc3339(item.at or item.received_at)
    gaps = missing(known)
    return data | ({"missing": gaps} if gaps else {})


def view(known: Import) -> dict[str, Any]:
    """An import as the API shows it."""
    shown: dict[str, Any] = {"status": status(known), "progress": known.progress, "missing": missing(known)}
    instants = ("asked_at", "contacts_asked_at", "heard_at", "declined_at")
    return shown | {name: rfc3339(at) for name in instants if (at := getattr(known, name))}
