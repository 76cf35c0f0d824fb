"""The sender's pace over real HTTP: holds that end at once, and a window that a restart does not forget."""

import asyncio
import time

import pytest

from services.sandbox.faults import calm
from tests.app.rig import ADDED, service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER, post, sandbox
from tests.processes import busy

AT_ONCE_S = 2.0
"""Far below any look that comes by itself, even on a busy machine."""
STOP_AFTER = 30


def quiet(**more):
    faults = calm()
    for name, value in more.items():
        setattr(faults, name, value)
    return faults


@pytest.fixture
async def rig(tmp_path):
    async with together(tmp_path, faults=quiet()) as running:
        await running.customer()
        await until(running.conversation)
        yield running


async def seconds_until_accepted(rig, command_id):
    started = time.perf_counter()
    assert (await rig.outcome(command_id))["state"] == "accepted"
    return time.perf_counter() - started


async def test_a_resumed_number_sends_at_once(rig):
    await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
    await rig.data("account", "number.changed")
    command_id = await rig.send()

    async def waits():
        return (await rig.admin.get(f"/v1/sends/{command_id}")).json().get("state") == "queued"

    await until(waits)
    await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
    assert await seconds_until_accepted(rig, command_id) < AT_ONCE_S or busy()


async def test_a_deferred_send_goes_at_once_when_its_conversation_is_released(rig):
    await rig.data("timeline", ADDED, await rig.owner())
    command_id = await rig.send(defer_until_released=True)
    await rig.data("sends", "send.deferred", command_id)
    conversation = (await rig.conversation())["conversation_id"]
    await rig.admin.post(f"/v1/conversations/{conversation}/release", json={})
    assert await seconds_until_accepted(rig, command_id) < AT_ONCE_S or busy()


async def held_by_its_token(rig):
    await rig.control("/faults", {"token_expired": True})
    command_id = await rig.send()
    await rig.data("sends", "send.deferred", command_id)
    await rig.control("/faults", {"token_expired": False})
    return command_id


async def test_a_number_goes_on_at_once_when_its_token_was_mended_and_somebody_says_so(rig):
    command_id = await held_by_its_token(rig)
    await rig.admin.post(f"/v1/numbers/{NUMBER}/resume")
    assert await seconds_until_accepted(rig, command_id) < AT_ONCE_S or busy()
    assert (await rig.admin.get("/v1/numbers")).json()["numbers"][0]["sending"] == "on"


async def test_a_number_goes_on_within_a_minute_when_its_token_was_mended_and_nobody_says_so(tmp_path):
    ahead = [0.0]
    wiring = {"clock": lambda: time.time() + ahead[0]}
    async with together(tmp_path, wiring=wiring, faults=quiet()) as rig:
        await rig.customer()
        await until(rig.conversation)
        command_id = await held_by_its_token(rig)
        ahead[0] = 61.0
        assert (await rig.outcome(command_id))["state"] == "accepted"

        async def on():
            return (await rig.admin.get("/v1/numbers")).json()["numbers"][0]["sending"] == "on"

        await until(on)


async def answered(meta):
    return (await meta.get("/sandbox/api/ledger/sends")).json()


async def test_a_restart_does_not_forget_what_was_spent(tmp_path):
    """Stopped and started in the middle of its stream, the number still sends no more than 20 in any second."""
    async with sandbox(faults=quiet(pair_interval_ms=0)) as meta:
        url = str(meta.base_url).rstrip("/")
        people = [f"3460000{n:04d}" for n in range(80)]
        async with service(tmp_path, url, meta=meta) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})
            for person in people:
                await rig.customer(contact=person)
            for person in people:
                await rig.send(to=person, origin="agent")

            async def half():
                return len(await answered(meta)) >= STOP_AFTER

            await until(half)
        async with service(tmp_path, url, meta=meta) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})

            async def all_sent():
                return sum(1 for send in await answered(meta) if send["wamid"]) == len(people)

            await until(all_sent)
        sends = await answered(meta)
    times = sorted(send["at_s"] for send in sends)
    assert [send["code"] for send in sends if send["code"]] == []
    assert max(sum(1 for at in times if start <= at < start + 1) for start in times) <= 20
    assert CONTACT not in people


async def test_a_live_send_does_not_wait_for_a_bulk_backlog(rig):
    """The backlog is longer than what leaves in a minute; what it costs a live send is one turn of the number."""
    for n in range(200):
        await rig.send(to=f"3461000{n:04d}", lane="bulk", origin="campaign")
    await asyncio.sleep(0)
    took = []
    for _ in range(5):
        started = time.perf_counter()
        await rig.outcome(await rig.send())
        took.append(time.perf_counter() - started)
    assert sorted(took)[2] < AT_ONCE_S or busy()
