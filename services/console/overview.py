"""Is it fine right now? Rates, echo latency, lag, what is left of the limits, and open problems, each with its figures.

Problems are codes with figures; the page makes sentences of them, in the reader's language.
"""

from dataclasses import dataclass
from typing import Any

from schemas.instants import parse_rfc3339, rfc3339
from schemas.ports import FAR
from schemas.states import DELIVERY, Number
from schemas.topics import partition_of
from sender.command import AMBIGUOUS, Queue, queue_key
from services.api.numbers import numbers
from services.api.privacy import is_overdue, requests
from services.console.commands import unfinished
from services.console.hour import MINUTE_S, MINUTES, Hour, counted, latencies, rate
from services.console.letters import OPEN, letters
from services.console.outcomes import Outcomes
from services.running import App
from services.shard import decode_state
from services.telemetry.standing import headroom

LAG_S_MAX = 5.0
"""Records that have waited longer than this are a problem."""
LANES_MAX = 1_000
"""Lanes in line that are counted per number."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the overview looks at beside the app itself."""

    app: App
    hour: Hour
    outcomes: Outcomes


async def overview(looked: Looked) -> dict[str, Any]:
    """Everything the first view shows."""
    app, hour = looked.app, looked.hour
    before, now = hour.last_minute()
    found_lag, found_limits = await lag(app), await limits(app)
    return {
        "at": rfc3339(now.at),
        "ready": app.ready(),
        "rates": {
            "items_in": round(rate(before, now, "items"), 2),
            "messages": round(rate(before, now, "messages"), 2),
            "sends_out": round(rate(before, now, "sends", ["accepted"]), 2),
        },
        "totals": {name: counted(now, name) for name in ("items", "messages", "duplicates", "sends", "requests")},
        "echo": latencies(before, now),
        "minutes": [
            {
                "at": rfc3339(new.at),
                "items_in": round(rate(old, new, "items"), 2),
                "sends_out": round(rate(old, new, "sends", ["accepted"]), 2),
                "echo": latencies(old, new),
            }
            for old, new in hour.minutes()
        ],
        "lag": found_lag,
        "limits": sorted(found_limits, key=lambda one: one["headroom"])[:5],
        "problems": await _problems(looked, found_lag, found_limits),
    }


async def lag(app: App) -> list[dict[str, Any]]:
    """Of each processor and input topic: records not yet read, and for how long the oldest of them has waited."""
    now = app.clock()
    found = []
    for name, runner in app.runners.items():
        places = [(shard, await app.store.positions(name, shard)) for shard in range(app.log.partitions)]
        for topic in runner.processor.inputs:
            records, oldest_s = 0, 0.0
            for shard, positions in places:
                position = positions.get(topic, 0)
                unread = await app.log.end(topic, shard) - position
                if unread > 0:
                    records += unread
                    first = await app.log.read(topic, shard, position, 1)
                    oldest_s = max(oldest_s, now - first[0].appended_at if first else 0.0)
            found.append({"processor": name, "topic": topic, "records": records, "seconds": round(oldest_s, 3)})
    return found


async def limits(app: App) -> list[dict[str, Any]]:
    """Of each number: its rate, how much of the next second is unspent (`headroom`, 0 to 1), and what holds it."""
    now = app.clock()
    return [await _limit(app, state, now) for state in await numbers(app)]


async def _limit(app: App, state: Number, now: float) -> dict[str, Any]:
    shard = partition_of(state.number, app.log.partitions)
    key = queue_key(state.number)
    stored = await app.store.load(DELIVERY, shard, [key])
    queue: Queue = decode_state(Queue, stored[key]) if key in stored else Queue()
    lanes = await app.store.heads(DELIVERY, shard, f"ready/{state.number}", FAR, LANES_MAX)
    shown: dict[str, Any] = {
        "number": state.number,
        "rate_per_s": state.rate_per_s,
        "headroom": round(headroom(queue, now), 3),
        "open": queue.open,
        "lanes_waiting": len(lanes),
        "because": state.paused_because or (queue.held_because if queue.held_until > now else ""),
    }
    if queue.held_until > now:
        shown["until"] = rfc3339(queue.held_until)
    if queue.slowed_until > now:
        shown["slowed_until"] = rfc3339(queue.slowed_until)
    return shown


async def _problems(
    looked: Looked, found_lag: list[dict[str, Any]], found_limits: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    app = looked.app
    found: list[dict[str, Any]] = []
    if not app.ready():
        found.append({"code": "not_ready"})
    found.extend(_of_webhooks(looked))
    found.extend(
        {"code": "lag", "processor": one["processor"], "records": one["records"], "seconds": one["seconds"]}
        for one in found_lag
        if one["seconds"] > LAG_S_MAX
    )
    found.extend(
        {"code": "not_sending", "number": one["number"], "because": one["because"]}
        for one in found_limits
        if one["because"]
    )
    if doubtful := [one for one in await unfinished(app) if one["state"] == AMBIGUOUS]:
        oldest_s = app.clock() - min(parse_rfc3339(one["requested_at"]) for one in doubtful)
        found.append({"code": "ambiguous", "count": len(doubtful), "seconds": round(oldest_s)})
    if unresolved := await looked.outcomes.unresolved():
        found.append({"code": "unresolved", "count": len(unresolved)})
    if dead := sum(letter.state == OPEN for letter in await letters(app)):
        found.append({"code": "dead_letters", "count": dead})
    if asked := [request for request in await requests(app) if not request.closed_at]:
        late = sum(is_overdue(request, app.clock()) for request in asked)
        found.append({"code": "rights_overdue", "count": late} if late else {"code": "rights", "count": len(asked)})
    return found


def _of_webhooks(looked: Looked) -> list[dict[str, Any]]:
    if "ingest" not in looked.app.roles:
        return []
    before, now = looked.hour.last_minute()
    counts = counted(now, "requests")
    minute = {outcome: count - counted(before, "requests").get(outcome, 0) for outcome, count in counts.items()}
    found: list[dict[str, Any]] = [
        {"code": outcome, "count": minute[outcome], "seconds": int(MINUTE_S)}
        for outcome in ("bad_signature", "not_durable")
        if minute.get(outcome)
    ]
    before, now = looked.hour.last_hour()
    if unknown := counted(now, "items").get("unknown", 0) - counted(before, "items").get("unknown", 0):
        found.append({"code": "not_understood", "count": unknown, "seconds": int(MINUTES * MINUTE_S)})
    if not counts.get("accepted"):
        found.append({"code": "no_webhook"})
    return found
