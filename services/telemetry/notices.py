"""What an operator should hear of in the log: a number that may not send, sends that fail, webhooks in trouble.

Webhooks are in trouble that are refused, not durable in time, or not understood. At most one line per cause and
minute, with how often it happened since the line before. A line names no number and nobody: which ones they are, the
commands in `fix` say to whoever may ask. Causes come from closed sets, and what does not look like one of them is
"other".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import structlog

from schemas.ports import Event
from schemas.topics import ACCOUNT, SENDS
from services.runner import Batch
from services.telemetry.metrics import Metrics

EVERY_S = 60.0
CAUSES_MAX = 64
"""Causes that are told apart; all further ones are one."""
PLANNED = frozenset({"not_before", "taken_over", ""})
"""Reasons to wait that a caller or a person has chosen."""
FAILURES = frozenset({"send.rejected", "send.unresolved", "send.expired"})
REFUSED = {
    "signature": "Is COEXIST_META_APP_SECRETS the secret of the app that calls? `coexist doctor` looks.",
    "handshake": "Give Meta's dashboard the same verify token as COEXIST_META_VERIFY_TOKEN.",
    "too_many": "An address sends nothing but what is refused; it is turned away until it stops.",
}
"""Refusals worth a line; the others are a client's own business."""
NOT_UNDERSTOOD = (
    "They are kept. Meta may send something new: `coexist tail inbound --from-start --type webhook.unknown` shows it. "
    "See CoexistNotUnderstood in RUNBOOK.md."
)
WHICH_NUMBER = "`coexist numbers list` says which, and why."
WHICH_SENDS = "`coexist tail sends` says which; the operator page counts them by code."

_REASON = re.compile(r"[a-z][a-z_]{0,39}")

log = structlog.get_logger()


class Notices:
    """Hands on to the metrics what is observed, and says in the log what somebody should look at."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._told: dict[tuple[str, str, int], float] = {}
        self._untold: dict[tuple[str, str, int], int] = {}

    # --- what the runner and the webhook tell

    def committed(self, batch: Batch) -> None:
        """A batch is durable."""
        self._metrics.committed(batch)
        for topic, event in batch.outputs:
            if topic == SENDS:
                self._send(event)
            elif topic == ACCOUNT and event.type.startswith("number."):
                self._number(event)

    def noted(self, processor: str, notes: Sequence[str]) -> None:
        """What the deciders of a durable batch noted."""
        self._metrics.noted(processor, notes)

    def dead_lettered(self, processor: str, reason: str) -> None:
        """A record could not be decided and was set aside."""
        self._metrics.dead_lettered(processor, reason)

    def answered(self, status: int, seconds: float, items: int) -> None:
        """A webhook request was answered."""
        self._metrics.answered(status, seconds, items)

    def appended(self, entries: Sequence[tuple[str, Event]], now: float, seconds: float) -> None:
        """Webhook items became durable."""
        unknown = self._metrics.appended(entries, now, seconds)
        if unknown and (due := self._due("unknown", "unknown", happened=unknown)):
            log.warning("webhooks_not_understood", fix=NOT_UNDERSTOOD, **due)

    def refused(self, reason: str) -> None:
        """A webhook request was turned away."""
        self._metrics.refused(reason)
        if reason in REFUSED and (due := self._due("refused", reason)):
            log.warning("webhooks_refused", fix=REFUSED[reason], **due)

    def secret(self, index: int) -> None:
        """This one of the app secrets signed a webhook."""
        self._metrics.secret(index)

    def unconfirmed(self) -> None:
        """An append was not confirmed in time."""
        self._metrics.unconfirmed()
        if due := self._due("unconfirmed", "unconfirmed"):
            log.warning("webhooks_not_durable", fix="Meta sends them again. Look at the disk, or at the broker.", **due)

    # --- what is made of it

    def _send(self, event: Event) -> None:
        if event.type not in FAILURES and event.type != "send.deferred":
            return
        told = orjson.loads(event.data or b"{}")
        reason = told.get("reason", "")
        if event.type == "send.deferred" and reason in PLANNED:
            return
        if due := self._due(event.type, reason, _code(told)):
            log.warning("sends_fail", type=event.type, fix=WHICH_SENDS, **due)

    def _number(self, event: Event) -> None:
        told = orjson.loads(event.data or b"{}")
        if told.get("sending") == "paused" and (due := self._due("paused", told.get("because", ""))):
            log.warning("number_paused", fix=WHICH_NUMBER, **due)

    def _due(self, what: str, reason: str, code: int = 0, happened: int = 1) -> dict[str, Any]:
        """What a line about this says of its cause; nothing while the last one is not a minute old."""
        cause = (what, reason if _REASON.fullmatch(reason) else "other", code)
        if cause not in self._told and len(self._told) >= CAUSES_MAX:
            cause = (what, "other", 0)
        count = self._untold.get(cause, 0) + happened
        now = self._clock()
        if cause in self._told and 0 <= now - self._told[cause] < EVERY_S:
            self._untold[cause] = count
            return {}
        self._told[cause] = now
        self._untold.pop(cause, None)
        return {"reason": cause[1], "count": count} | ({"error": cause[2]} if cause[2] else {})


def _code(told: Mapping[str, Any]) -> int:
    """Meta's error code, 0 where there is none."""
    error = told.get("error")
    code = error.get("code") if isinstance(error, dict) else 0
    return code if isinstance(code, int) else 0
