"""`coexist doctor`: what is well is said in a line, what is not comes with its fix; and the echo test."""

import asyncio
import time
from base64 import b64encode

import httpx
import structlog
from click.testing import CliRunner

from services.cli import main
from services.doctor import Doctor
from services.doctor_echo import EchoTest, sandbox_at
from services.graph_account import GraphAccount
from services.sandbox.config import Number
from services.sandbox.faults import calm
from services.serve import write_address
from tests.app.rig import settings, together, until
from tests.app.sandbox_receiver import NUMBER
from tests.processes import DEFAULT_TOKEN, coexist, environment

WABA = Number().waba
APP_ID = "990000000000001"


async def examine(rig, clock=time.time, wabas=(), **more):
    """What the doctor finds, by what it looked at."""
    folder = rig.app.settings.data_dir
    found = settings(folder, str(rig.meta.base_url).rstrip("/"), **{"meta_app_id": APP_ID, **more})
    own = found.meta_access_token
    token = own.get_secret_value() if own else ""
    with httpx.Client(trust_env=False) as web:
        graph = GraphAccount(web, found.meta_graph_url, "v26.0", token)
        doctor = Doctor(found, graph, web, tuple(wabas), clock=clock)
        return {one.what: one for one in await asyncio.to_thread(lambda: list(doctor.examine()))}


async def ready(rig):
    """A service that has a number, whose app is subscribed."""
    write_address(rig.app)
    await rig.data("account", "number.onboarded")
    token = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}
    assert (await rig.meta.post(f"/v26.0/{WABA}/subscribed_apps", headers=token)).status_code == 200


async def test_a_whole_installation_has_nothing_to_mend(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        found = await examine(rig)
        assert [one for one in found.values() if one.ok is not True] == []
        assert list(found) == [
            *("app secret", "verify token", "access token", "data folder", "disk", "SQLite", "admin listener"),
            *(f"number {NUMBER}", "handshake", "wrong verify token", "signed webhook", "unsigned webhook"),
            *("Graph", "clock", "token", f"numbers of {WABA}", f"subscription of {WABA}", "fields of the app"),
        ]


async def test_a_look_raises_no_alarm_in_what_it_looks_at(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        before = await refusals(rig)
        with structlog.testing.capture_logs() as lines:
            for about in ({}, {"meta_verify_token": "another"}):
                assert (await examine(rig, **about))["unsigned webhook" if not about else "handshake"].says
        assert await refusals(rig) == before
        assert [line for line in lines if line["event"] == "webhooks_refused"] == []
        assert (await rig.admin.get(rig.webhook)).status_code == 403
        assert await refusals(rig) != before


async def refusals(rig):
    told = (await rig.admin.get("/metrics")).text.splitlines()
    return [line for line in told if line.startswith("coexist_ingest_requests_total") and "accepted" not in line]


WRONG = [
    ({"meta_verify_token": "another"}, "handshake", "must read the challenge back"),
    ({"meta_app_secrets": "x" * 32}, "signed webhook", "another app secret"),
    ({"meta_access_token": "another"}, "token", "Make a new one"),
    ({"meta_app_id": "123"}, f"subscription of {WABA}", "coexist onboard"),
    ({"meta_graph_url": "http://127.0.0.1:9"}, "Graph", "must be reachable"),
    ({"admin_url": "http://127.0.0.1:9"}, "admin listener", "coexist run"),
    ({"meta_app_secrets": []}, "app secret", "App settings → Basic"),
    ({"meta_verify_token": None}, "verify token", "dashboard"),
    ({"meta_access_token": None}, "access token", "System users"),
    ({"encryption_keys": "short"}, "encryption keys", "openssl rand -base64 32"),
]


async def test_each_wrong_setting_is_found_with_its_fix(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        for about, what, fix in WRONG:
            finding = (await examine(rig, wabas=[WABA], **about))[what]
            assert finding.ok is False, what
            assert fix in finding.fix


async def test_without_the_installation_s_token_numbers_may_have_their_own(tmp_path):
    key = b64encode(b"k" * 32).decode()
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        found = await examine(rig, encryption_keys=key, meta_access_token=None)
        assert (found["access token"].ok, found["encryption keys"].says) == (None, "1 set")


async def test_what_is_wrong_at_meta_is_found_with_its_fix(tmp_path):
    faults = calm()
    faults.on_biz_app = False
    async with together(tmp_path, faults=faults) as rig:
        await rig.customer()
        write_address(rig.app)
        await rig.data("account", "number.onboarded")
        found = await examine(rig, clock=lambda: time.time() + 120)
        wrong = {what: finding.fix for what, finding in found.items() if finding.ok is False}
        assert set(wrong) == {"clock", f"numbers of {WABA}", f"subscription of {WABA}"}
        assert "NTP" in wrong["clock"]


async def test_a_paused_number_is_found(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")
        await rig.data("account", "number.changed")
        assert (await examine(rig))[f"number {NUMBER}"].says == "operator"


def test_a_folder_that_cannot_be_made_is_found(tmp_path):
    (tmp_path / "file").write_text("")
    done = coexist("doctor", cwd=tmp_path, data_dir=tmp_path / "file" / "data", meta_graph_url="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "✗ data folder" in done.stdout
    assert "to mend." in done.stdout


def test_settings_that_cannot_be_read_are_the_first_finding(tmp_path):
    done = coexist("doctor", cwd=tmp_path, prot=1)
    assert done.returncode == 1
    assert "Did you mean COEXIST_PORT" in done.stdout


async def test_no_secret_is_ever_printed(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await ready(rig)
        found = await examine(rig, meta_access_token="EAAsecret", meta_verify_token="very-own")
        text = str(list(found.values()))
        assert "EAAsecret" not in text
        assert "very-own" not in text


async def test_the_echo_test_asks_which_number_where_several_are_known_and_names_one_that_is_refused(tmp_path):
    async with together(tmp_path) as rig:
        about = environment(
            admin_url=str(rig.admin.base_url).rstrip("/"), meta_graph_url=str(rig.meta.base_url).rstrip("/")
        )

        async def echo(*arguments):
            found = await asyncio.to_thread(CliRunner().invoke, main, ["doctor", "echo", *arguments], env=about)
            return found.exit_code, found.output

        for number in ("1001", "1002"):
            assert (await rig.admin.post("/v1/numbers", json={"number": number})).status_code < 300
            await until(lambda number=number: rig.app.knows(number))
        assert await echo() == (2, "Error: Give --number: 2 numbers are known.\n")
        code, told = await echo("--number", "1002")
        assert (code, "The sandbox refused 1002: no such number" in told) == (1, True), told


async def test_the_echo_test_sends_one_message_each_way_and_says_where_the_time_went(tmp_path):
    async with together(tmp_path) as rig:
        url = str(rig.meta.base_url).rstrip("/")
        done = await asyncio.to_thread(
            lambda: coexist(
                *("doctor", "echo", "--wait", 10),
                cwd=tmp_path,
                admin_url=f"http://127.0.0.1:{rig.app.admin.port}",
                meta_graph_url=url,
            )
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert [line for line in lines if line.startswith("✓")] == [
            "✓ customer → Coexist: on the timeline",
            "✓ Business App → Coexist: on the timeline",
        ]
        assert sum("made durable" in line or "decided whose" in line for line in lines) == 2
        assert all(line.endswith(" ms") for line in lines if line.startswith("    "))


async def test_an_echo_that_does_not_come_is_a_failure(tmp_path):
    faults = calm()
    faults.paused = True
    async with together(tmp_path, faults=faults) as rig:
        said = []
        url, admin = str(rig.meta.base_url).rstrip("/"), f"http://127.0.0.1:{rig.app.admin.port}"
        with httpx.Client(trust_env=False) as client:
            came = await asyncio.to_thread(EchoTest(client, admin, url, NUMBER, 0.5, said.append).run)
        assert came is False
        assert said[0].startswith("✗ customer → Coexist: nothing within 0.5 s")


async def test_with_the_real_meta_a_person_is_told_what_to_do(tmp_path):
    async with together(tmp_path) as rig:
        said, admin = [], f"http://127.0.0.1:{rig.app.admin.port}"
        with httpx.Client(trust_env=False) as client:
            test = asyncio.create_task(asyncio.to_thread(EchoTest(client, admin, "", NUMBER, 10, said.append).run))

            async def told(times):
                return len([line for line in said if "Waiting" in line]) == times

            await until(lambda: told(1))
            await rig.customer()
            await until(lambda: told(2))
            await rig.owner()
            assert await test is True
        assert said[0].startswith("From another phone, write to the business now.")


def test_a_sandbox_is_told_from_the_real_graph():
    with httpx.Client(trust_env=False) as client:
        assert sandbox_at(client, "http://127.0.0.1:9") == ""
