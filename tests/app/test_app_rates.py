"""Half a minute of real time against the sandbox's own limits, over real HTTP, on a number that is already known."""

import asyncio
import time

import orjson
import pytest

from schemas.ports import Event
from schemas.topics import OUTBOUND
from sender.pacing import SUDDEN_KEEP_S
from services.sandbox.faults import calm
from tests.app.rig import together
from tests.app.sandbox_receiver import NUMBER

SECONDS = 30
MPS = 20
EVEN_PER_S = 5
PEOPLE = 300
WARM_S = 3.0

pytestmark = pytest.mark.faults


def faults():
    found = calm()
    found.pair_interval_ms, found.status_delay_ms = 0, 5
    return found


async def customers(rig, stop, per_s):
    """Customers write, evenly, at a rate that may change; the times at which Meta counted them."""
    times, due = [], time.monotonic()
    while not stop.is_set():
        now_per_s = per_s()
        if now_per_s:
            await rig.customer(contact="34699999999")
            times.append(time.time())
        due = max(due, time.monotonic() - 1) + 1 / (now_per_s or 10)
        await asyncio.sleep(max(0, due - time.monotonic()))
    return times


async def ask(rig, people, count):
    """Write all commands at once: the number has something to send all the time."""
    now, entries = rig.app.clock(), []
    for n in range(count):
        message = {"type": "text", "text": {"body": str(n)}}
        to = people[n % len(people)]
        data = {"command_id": f"c{n}", "number": NUMBER, "to": to, "message": message, "origin": "agent"}
        event = Event(f"send:c{n}", "send.requested", NUMBER, orjson.dumps(data), now, now, f"c{n}")
        entries.append((OUTBOUND, event))
    await rig.app.log.append(entries)


async def measured(tmp_path, per_s):
    """Refused sends, and the part of the rest that was used. The machine must be quiet: a loop that stands still for
    50 ms lets two requests come together that were not meant to."""
    ahead = [0.0]
    wiring = {"clock": lambda: time.time() + ahead[0]}
    async with together(tmp_path, wiring=wiring, faults=faults()) as rig:
        people = [f"3460000{n:04d}" for n in range(PEOPLE)]
        for person in people:
            await rig.customer(contact=person)
        await rig.control("/flush", {"timeout_s": 10})
        ahead[0] = SUDDEN_KEEP_S + 1  # the people who were introduced all at once are no sudden traffic any more
        await ask(rig, people, int((SECONDS + WARM_S) * (MPS + 1)))
        stop = asyncio.Event()
        writing = asyncio.create_task(customers(rig, stop, per_s))
        await asyncio.sleep(WARM_S)
        started = time.time()
        await asyncio.sleep(SECONDS)
        stop.set()
        came = [at for at in await writing if started <= at < started + SECONDS]
        sends = (await rig.meta.get("/sandbox/api/ledger/sends")).json()
    inside = [send for send in sends if started <= send["at_s"] < started + SECONDS]
    refused = [send for send in inside if send["code"] == 130429]
    return len(refused), sum(1 for send in inside if send["wamid"]) / (MPS * SECONDS - len(came))


async def test_beside_an_even_flow_nothing_is_refused_and_all_but_a_twentieth_is_used(tmp_path, tell):
    refused, used = await measured(tmp_path, lambda: EVEN_PER_S)
    tell(f"{SECONDS} s over HTTP, {EVEN_PER_S}/s inbound: {refused} refused, {used:.1%} of the rest used")
    assert refused == 0
    assert used >= 0.95


async def test_beside_a_flow_that_jumps_nothing_is_refused_and_four_fifths_are_used(tmp_path, tell):
    began = time.monotonic()

    def per_s():
        return (15, 0, 7, 0, 15, 3)[int((time.monotonic() - began) / 3) % 6]

    refused, used = await measured(tmp_path, per_s)
    tell(f"{SECONDS} s over HTTP, inbound jumps 0..15/s: {refused} refused, {used:.1%} of the rest used")
    assert refused == 0
    assert used >= 0.80
