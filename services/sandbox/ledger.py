"""The ledger: what was delivered, acknowledged and accepted, and how often. The truth for audits."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.sandbox.wire import Ref, Update


@dataclass(slots=True)
class Item:
    """One webhook item. `acknowledged` counts the 200 answers we got; the first is timed on both clocks."""

    ref: Ref
    created_at_s: float
    deliveries: int = 0
    acknowledged: int = 0
    first_ack_at_s: float | None = None
    first_ack_mono_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the item for the control API."""
        return {
            **self.ref._asdict(),
            "created_at_s": self.created_at_s,
            "deliveries": self.deliveries,
            "acknowledged": self.acknowledged,
            "first_ack_at_s": self.first_ack_at_s,
            "first_ack_mono_s": self.first_ack_mono_s,
        }


@dataclass(frozen=True, slots=True)
class Send:
    """One request to the messages endpoint: accepted with a wamid, or refused with Meta's code."""

    number: str
    to: str
    wamid: str | None
    code: int | None
    callback: str | None
    body_sha256: str
    at_s: float
    answer: str  # answered, cut, empty_500, unparsable, cut_before


class Ledger:
    """Counts and records; every method is a few dictionary operations, cheap at thousands a second."""

    def __init__(self, items_max: int = 0) -> None:
        self._items: dict[str, Item] = {}
        self._sends: deque[Send] = deque(maxlen=items_max or None)
        self._items_max = items_max
        self.tokens: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.created: Counter[str] = Counter()
        self.posts = 0
        self.deliveries = 0
        self.duplicates = 0
        self.lost_200 = 0
        self.given_up = 0
        self.accepted = 0
        self.unacknowledged = 0

    def open(self, update: Update, now_s: float) -> None:
        """Enter the items of an update, once each."""
        for ref in update.refs:
            if ref.key not in self._items:
                self._items[ref.key] = Item(ref, now_s)
                self.created[ref.kind] += 1
                self.unacknowledged += 1
        if self._items_max and len(self._items) > self._items_max:
            self._forget_oldest()

    def delivered(self, updates: Iterable[Update]) -> None:
        """Count a POST on its way with these updates."""
        self.posts += 1
        for update in updates:
            for ref in update.refs:
                self.deliveries += 1
                if (item := self._items.get(ref.key)) is not None:
                    item.deliveries += 1

    def answered(self, updates: Iterable[Update], outcome: str, now_s: float, mono_s: float) -> None:
        """Count the answer to a POST: a status code as text, or `timeout`, `unreachable`."""
        self.answers[outcome] += 1
        if outcome != "200":
            return
        for update in updates:
            for ref in update.refs:
                item = self._items.get(ref.key)
                if item is None:
                    continue
                if not item.acknowledged:
                    item.first_ack_at_s, item.first_ack_mono_s = now_s, mono_s
                    self.unacknowledged -= 1
                item.acknowledged += 1

    def sent(self, send: Send) -> None:
        """Enter a send."""
        self._sends.append(send)
        if send.wamid is not None:
            self.accepted += 1
            if send.callback is not None:
                self.tokens[send.callback] += 1
        elif send.code is not None:
            self.codes[send.code] += 1

    def items(self) -> Iterator[Item]:
        """Yield every item, oldest first."""
        yield from list(self._items.values())

    def sends(self) -> Sequence[dict[str, Any]]:
        """Return every send, oldest first, each with how often its callback token was accepted."""
        return [
            {name: getattr(send, name) for name in Send.__slots__}
            | {"token_accepted": self.tokens.get(send.callback or "", 0)}
            for send in self._sends
        ]

    def summary(self) -> dict[str, Any]:
        """Return the counters."""
        return {
            "items": len(self._items),
            "items_by_kind": dict(self.created),
            "acknowledged": len(self._items) - self.unacknowledged,
            "unacknowledged": self.unacknowledged,
            "posts": self.posts,
            "deliveries": self.deliveries,
            "duplicates": self.duplicates,
            "lost_200": self.lost_200,
            "given_up": self.given_up,
            "answers": dict(self.answers),
            "sends": {
                "requests": len(self._sends),
                "accepted": self.accepted,
                "refused_by_code": {str(code): count for code, count in self.codes.items()},
                "tokens": len(self.tokens),
                "tokens_accepted_twice": sum(1 for count in self.tokens.values() if count > 1),
            },
        }

    def _forget_oldest(self) -> None:
        for key, item in self._items.items():
            if item.acknowledged:
                del self._items[key]
                return
