"""`examples/booking.py` as its user runs it: a relay, signed webhooks, one confirmation per booking."""

import os
import sqlite3
import sys
from pathlib import Path

from tests.app.rig import together, until
from tests.app.sandbox_receiver import CONTACT
from tests.processes import START_S, Process, free_port

PROGRAM = Path(__file__).parents[2] / "examples" / "booking.py"


async def test_a_booking_is_confirmed_once_and_a_change_by_hand_stands(tmp_path):
    port = free_port()
    async with together(tmp_path, about={"relay_hosts": [f"127.0.0.1:{port}"]}) as rig:
        made = (await rig.admin.post("/v1/relays", json={"url": f"http://127.0.0.1:{port}/"})).json()
        coexist = f"http://127.0.0.1:{rig.app.admin.port}"
        file = tmp_path / "bookings.db"
        command = [sys.executable, str(PROGRAM), "--port", str(port), "--coexist", coexist, "--file", str(file)]
        env = {**os.environ, "BOOKING_SECRET": made["secret"]}
        with Process(command, tmp_path, "booking", env) as process:
            await rig.customer("Hola, a table 20:30 please")
            confirmed = await until(lambda: _said(rig, "Your table at 20:30 is booked. See you soon!"))
            await rig.owner("Sorry, we must change 21:00 :)")
            await until(lambda: _booked(file, ("21:00", "owner")))
            before = await until(lambda: _delivered(rig, 3))
            await rig.admin.post(
                f"/v1/relays/{made['relay_id']}/replay", json={"number": confirmed["number"], "from_seq": 1}
            )
            await until(lambda: _delivered(rig, before + 3))
            assert await _booked(file, ("21:00", "owner"))
            assert len([one for one in await rig.events("timeline", "message.added") if one[2]["origin"] == "api"]) == 1
            assert process.err.read_text() == ""


async def test_without_a_secret_it_says_what_to_set(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "BOOKING_SECRET"}
    with Process([sys.executable, str(PROGRAM)], tmp_path, "booking", env) as process:
        assert process.popen.wait(START_S) == 1
        assert "BOOKING_SECRET" in process.err.read_text()


async def _said(rig, text):
    added = [data for _, _, data in await rig.events("timeline", "message.added")]
    mine = [data for data in added if data["origin"] == "api" and data["contact"]["wa_id"] == CONTACT]
    return mine[0] if mine and mine[0]["content"]["body"] == text else None


async def _booked(file, wanted):
    with sqlite3.connect(file) as bookings:
        return bookings.execute("SELECT at, by FROM bookings").fetchall() == [wanted]


async def _delivered(rig, at_least):
    count = rig.app.metrics.registry.get_sample_value("coexist_relay_deliveries_total", {"outcome": "delivered"}) or 0
    return count if count >= at_least else None
