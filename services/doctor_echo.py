"""`coexist doctor echo`: one message each way, and where its time went.

The sandbox is asked to act both people. With the real Meta a person does it: the command says what to type where.
Stages come from the event itself and from the service's own histogram, so nothing is measured twice.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from schemas.instants import parse_rfc3339
from services.commands.failure import UNREACHABLE, Failure

HISTOGRAM = "coexist_echo_latency_seconds"
CONTACT = "34600111222"
BACKLOG_S = 5.0
"""Above this at Meta's side the likely cause is Meta's own delivery: a phone without network, or retries."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: who acts, what a person is told to do, and by what its message is known."""

    name: str
    path: str
    task: str
    origin: str


WAYS = (
    Way("customer → Coexist", "/customer/messages", "From another phone, write to the business now.", "customer"),
    Way("Business App → Coexist", "/app/messages", "In the Business App, answer that message now.", "business_app"),
)


@dataclass(frozen=True, slots=True)
class EchoTest:
    """One test of a number over the admin listener at `admin_url`; `sandbox_url` is empty with the real Meta."""

    client: httpx.Client
    admin_url: str
    sandbox_url: str
    number: str
    wait_s: float
    say: Say

    def run(self) -> bool:
        """Both ways. True when both messages came."""
        came = [self._way(way) for way in WAYS]
        return all(came)

    def _way(self, way: Way) -> bool:
        before = self._stages()
        with self._timeline() as lines:
            asked_at = time.time()
            wamid = self._act(way)
            event = self._await(lines, way, wamid)
        if event is None:
            self.say(f"✗ {way.name}: nothing within {self.wait_s:g} s. `coexist doctor` says what may be missing.")
            return False
        seen_at = time.time()
        self.say(f"✓ {way.name}: on the timeline")
        started_at = asked_at if wamid else parse_rfc3339(event["time"])
        had_at = parse_rfc3339(event["recordedtime"])
        for name, seconds in self._spent(before, started_at, had_at, seen_at, way):
            self.say(f"    {name:34} {max(0.0, seconds) * 1000:8.1f} ms")
        if had_at - started_at > BACKLOG_S:
            self.say("    Meta took most of it: is the phone online, and was the webhook refused before?")
        return True

    def _act(self, way: Way) -> str:
        """Let the sandbox act, or tell a person to; the message's id where it is known."""
        if not self.sandbox_url:
            self.say(f"{way.task} Waiting {self.wait_s:g} s ...")
            return ""
        body = {"number": self.number, "contact": CONTACT, "text": "coexist doctor echo"}
        answer = self.client.post(f"{self.sandbox_url}/sandbox/api{way.path}", json=body)
        if answer.status_code >= 400:
            raise Failure(f"The sandbox refused {self.number}: {answer.json().get('detail', answer.status_code)}.")
        return str(answer.json()["wamid"])

    def _timeline(self) -> Any:
        timeout = httpx.Timeout(self.wait_s, connect=5.0)
        return self.client.stream("GET", f"{self.admin_url}/v1/topics/timeline/events", timeout=timeout)

    def _await(self, answer: httpx.Response, way: Way, wamid: str) -> dict[str, Any] | None:
        end = time.monotonic() + self.wait_s
        try:
            for line in answer.iter_lines():
                event = orjson.loads(line[6:]) if line.startswith("data: ") else {}
                if event.get("type") == "message.added" and _is_it(event["data"], way, wamid, self.number):
                    return event
                if time.monotonic() > end:
                    return None
        except httpx.ReadTimeout:
            return None
        except httpx.HTTPError:
            raise Failure("The service ended the stream. Is it still running?", UNREACHABLE) from None
        return None

    def _spent(
        self, before: dict[str, float], started_at: float, had_at: float, seen_at: float, way: Way
    ) -> Iterator[tuple[str, float]]:
        yield "Meta, from writing to our listener", had_at - started_at
        if way.origin == "business_app":
            after = self._stages()
            spent = {stage: after.get(stage, 0.0) - before.get(stage, 0.0) for stage in ("append", "resolve", "total")}
            yield "made durable", spent["append"]
            yield "decided whose it is", spent["resolve"]
            yield "published and read here", seen_at - had_at - spent["append"] - spent["resolve"]
        else:
            yield "durable, decided, published, read", seen_at - had_at
        yield "all of it", seen_at - started_at

    def _stages(self) -> dict[str, float]:
        """Seconds spent so far by stage, over all echoes; during the test there is hopefully only ours."""
        answer = self.client.get(f"{self.admin_url}/metrics")
        return {
            sample.labels["stage"]: sample.value
            for family in text_string_to_metric_families(answer.text)
            if family.name == HISTOGRAM
            for sample in family.samples
            if sample.name == f"{HISTOGRAM}_sum"
        }


def _is_it(data: dict[str, Any], way: Way, wamid: str, number: str) -> bool:
    return data["message_id"] == wamid if wamid else (data["origin"], data["number"]) == (way.origin, number)


def sandbox_at(client: httpx.Client, url: str) -> str:
    """The address, when a sandbox answers there; empty for the real Graph."""
    try:
        answer = client.get(f"{url.rstrip('/')}/sandbox/api/numbers", timeout=5.0)
    except httpx.HTTPError:
        return ""
    return url.rstrip("/") if answer.status_code == 200 else ""
