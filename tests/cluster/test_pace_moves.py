"""Numbers move between processes in the middle of their stream: the next owner knows what the last one has spent."""

import asyncio
import time

import httpx
import msgspec
import orjson
import pytest

from schemas.ports import Event
from schemas.topics import OUTBOUND
from services.sandbox.config import make_numbers
from services.sandbox.faults import calm
from tests.cluster.fleet import Fleet
from tests.cluster.rig import Cluster, until
from tests.processes import Sandbox, busy

pytestmark = [pytest.mark.kafka, pytest.mark.crash, pytest.mark.faults]

NUMBERS = [number.phone_number_id for number in make_numbers(4)]
MPS = 20
MOVES = 6
STAY_S = 3.0
EACH = 600
PEOPLE = 200
TEMPLATE = {"type": "template", "template": {"name": "avis", "language": {"code": "ca"}}}
CALM = msgspec.to_builtins(calm()) | {"status_delay_ms": 5}
SENDERS = ("sender-1", "sender-2")


def commands(number):
    now = time.time()
    for n in range(EACH):
        command_id, to = f"{number}-{n}", f"3460000{n % PEOPLE:04d}"
        data = {"command_id": command_id, "number": number, "to": to, "message": TEMPLATE, "origin": "agent"}
        yield OUTBOUND, Event(f"send:{command_id}", "send.requested", number, orjson.dumps(data), now, now, command_id)


async def counted(sandbox):
    return await asyncio.to_thread(sandbox.call, "GET", "/ledger/sends")


async def test_meta_refuses_nothing_while_numbers_move_from_one_sender_to_another(tmp_path, tell):
    moved_at = []
    async with Cluster(partitions=2) as cluster, cluster.log() as log:
        with (
            Sandbox(tmp_path, "http://127.0.0.1:9/webhooks/meta", numbers=len(NUMBERS)) as sandbox,
            httpx.Client(timeout=5, trust_env=False) as client,
            Fleet(cluster, tmp_path, sandbox.url, client, ("ingest", "echo", *SENDERS)) as fleet,
        ):
            sandbox.call("POST", "/faults", CALM)
            sandbox.call("POST", "/webhook", {"url": fleet["ingest"].webhook})
            for number in NUMBERS:
                sandbox.call("POST", "/customer/messages", {"number": number, "contact": "34699999999", "text": "Hola"})
            sandbox.call("POST", "/flush", {"timeout_s": 30})
            await log.append([entry for number in NUMBERS for entry in commands(number)])

            async def all_numbers_send():
                return {send["number"] for send in await counted(sandbox)} == set(NUMBERS)

            await until(all_numbers_send)
            for turn in range(MOVES):
                await asyncio.sleep(STAY_S)
                leaving = SENDERS[turn % 2]
                moved_at.append(time.time())
                await asyncio.to_thread(fleet[leaving].stop)
                await asyncio.sleep(STAY_S)
                await asyncio.to_thread(fleet.start(leaving).ready)
            await asyncio.sleep(STAY_S)
            sends = await counted(sandbox)
    times = {number: sorted(send["at_s"] for send in sends if send["number"] == number) for number in NUMBERS}
    refused = sum(send["code"] is not None for send in sends)
    most = max(sum(1 for at in own if end - 1 < at <= end) for own in times.values() for end in own)
    rests = [
        min((at for at in own if at > moved), default=moved) - moved for moved in moved_at for own in times.values()
    ]
    at_once = sum(rest < 1 for rest in rests)
    tell(
        f"{MOVES} senders stopped and started beside another: {len(sends)} sends of {len(NUMBERS)} numbers, "
        f"{refused} refused, at most {most} in any second; {at_once} of {len(rests)} times a number went on within 1 s"
    )
    assert refused == 0
    assert most <= MPS
    assert at_once > 0 or busy()
    assert len({(send["number"], send["callback"]) for send in sends}) == len(sends)
