"""A processor is behind while somebody acts on what another has told of: nothing is refused that was promised."""

import asyncio

import pytest

from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from sender.delivery import Delivery
from services.access_tokens import AccessTokens
from services.sealing.keys import Sealer
from tests.app.rig import Rig, service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER

BEHIND_S = 0.2
"""How long a processor stays behind once somebody has asked: longer than an answer takes that does not wait."""


class BehindLog:
    """A log of which one processor reads nothing while `reads` is not set."""

    def __init__(self, log, inputs):
        self._log, self._inputs = log, inputs
        self.reads = asyncio.Event()
        self.reads.set()

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def reader(self, topics, partition, positions):
        found = await self._log.reader(topics, partition, positions)
        return BehindReader(found, self.reads) if tuple(topics) == self._inputs else found


class BehindReader:
    def __init__(self, reader, reads):
        self._reader, self._reads = reader, reads

    def __getattr__(self, name):
        return getattr(self._reader, name)

    async def poll(self, limit, wait_s, *more):
        found = await self._reader.poll(limit, wait_s, *more)
        await self._reads.wait()
        return found


def behind(processor):
    """Wiring for an app in which the processor may be held back, and where that is done."""
    logs = []

    def wrap(log):
        logs.append(BehindLog(log, processor.inputs))
        return logs[0]

    return {"wrap_log": wrap}, logs


async def while_behind(log, asked):
    """The answer to a request that is made while the processor is behind, and catches up a moment later."""
    log.reads.clear()
    answer = asyncio.create_task(asked)
    await asyncio.wait([answer], timeout=BEHIND_S)
    log.reads.set()
    return await answer


async def test_who_reads_of_a_customers_first_message_may_act_on_the_conversation_at_once(tmp_path):
    wiring, logs = behind(Conversations)
    async with service(tmp_path, **wiring) as rig:
        logs[0].reads.clear()
        await rig.trigger("message", contact=CONTACT)
        told = await rig.data("timeline", "message.added")
        path = f"/v1/conversations/{told['conversation_id']}"
        answer = await while_behind(logs[0], rig.admin.post(f"{path}/assign", json={"assignee": "ana"}))
        assert answer.status_code == 202
        assert (await rig.admin.get(f"{path}/timeline")).json()["messages"]


async def test_a_command_right_after_a_release_goes_over_the_socket_too(tmp_path):
    wiring, logs = behind(Conversations)
    async with together(tmp_path, wiring=wiring) as rig:
        await rig.customer()
        await rig.owner()

        async def taken():
            found = await rig.conversation()
            return found if found and found["owner"] == "person_app" else None

        conversation = (await until(taken))["conversation_id"]
        logs[0].reads.clear()
        assert (await rig.admin.post(f"/v1/conversations/{conversation}/release")).status_code == 202
        assert (await rig.outcome(await rig.send()))["state"] == "accepted"
        assert (await rig.conversation())["owner"] == "person_app"
        logs[0].reads.set()


@pytest.mark.parametrize(
    ("writes", "only_if", "reason"),
    [
        (Rig.owner, {}, "taken_over"),
        (Rig.owner, {"defer_until_released": True}, "taken_over"),
        (Rig.customer, {"only_if": {"no_message_after": "2020-01-01T00:00:00Z"}}, "newer_message"),
    ],
)
async def test_what_stands_on_the_timeline_holds_a_command_back_though_its_conversation_is_behind(
    tmp_path, writes, only_if, reason
):
    wiring, logs = behind(Conversations)
    async with together(tmp_path, wiring=wiring) as rig:
        logs[0].reads.clear()
        wamid = await writes(rig)
        await rig.data("timeline", "message.added", wamid)
        command_id = await rig.send(**only_if)
        kind = "send.deferred" if "defer_until_released" in only_if else "send.withdrawn"
        assert (await rig.data("sends", kind, command_id))["reason"] == reason
        assert await rig.conversation() is None
        assert (await rig.meta.get("/sandbox/api/ledger/sends")).json() == []
        logs[0].reads.set()


async def test_a_command_may_be_cancelled_as_soon_as_it_was_taken(tmp_path):
    wiring, logs = behind(Delivery)
    async with together(tmp_path, wiring=wiring) as rig:
        await rig.customer()
        await until(rig.conversation)
        logs[0].reads.clear()
        command_id = await rig.send(not_before="2099-01-01T00:00:00Z")
        answer = await while_behind(logs[0], rig.admin.delete(f"/v1/sends/{command_id}"))
        assert answer.status_code == 202
        assert (await rig.outcome(command_id))["state"] == "cancelled"


async def test_a_number_is_known_once_its_registration_is_answered(tmp_path):
    wiring, logs = behind(Messages)
    async with service(tmp_path, **wiring) as rig:
        answer = await while_behind(logs[0], rig.admin.post("/v1/numbers", json={"number": NUMBER}))
        assert answer.status_code == 202
        assert (await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")).status_code == 202


async def test_a_token_that_another_process_sets_is_used_at_once_where_there_was_none(tmp_path):
    async with service(tmp_path) as rig:
        ours, theirs = (
            AccessTokens(rig.app.store, Sealer([b"k" * 32]), None, 2, owner, rig.app.clock) for owner in "ab"
        )
        assert await ours.of(NUMBER) is None
        await theirs.keep(NUMBER, "EAA")
        assert await ours.of(NUMBER) == "EAA"
