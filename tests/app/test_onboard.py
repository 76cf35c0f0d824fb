"""`coexist onboard` against the sandbox: everything in Meta's order, each sync once, and a sentence for what fails."""

import asyncio
import stat
from base64 import b64encode

import click
import httpx
import pytest

from services.commands.admin_client import AdminClient
from services.graph_account import GraphAccount, graph_client
from services.onboarding import Onboarding, follow
from services.sandbox.config import Number
from services.sandbox.faults import calm
from tests.app.rig import settings, together, until
from tests.app.sandbox_receiver import NUMBER, post
from tests.processes import DEFAULT_SECRET, DEFAULT_TOKEN, coexist

WABA = Number().waba
APP_ID = "990000000000001"
STRANGER = "106540352242999"


def admin_of(rig):
    return AdminClient(settings("unused", admin_url=f"http://127.0.0.1:{rig.app.admin.port}"))


def graph_of(rig, transport=None, token=DEFAULT_TOKEN):
    return GraphAccount(graph_client(transport), str(rig.meta.base_url), "v26.0", token)


async def onboard(rig, graph=None, **more):
    """Run it as the command does; what it said."""
    said = []
    graph = graph or graph_of(rig)
    with graph.client:
        await asyncio.to_thread(Onboarding(admin_of(rig), graph, WABA, said.append, **more).run)
    return said


async def number(rig):
    return (await rig.admin.get(f"/v1/numbers/{NUMBER}")).json()


class Recording(httpx.BaseTransport):
    """Passes requests on and remembers their order; `lose` answers are lost on the way back."""

    def __init__(self, lose=""):
        self.seen = []
        self._lose = lose
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request):
        path = request.url.path.split("/", 2)[2]
        self.seen.append(f"{request.method} {path}" + (f" {kind(request)}" if request.method == "POST" else ""))
        answer = self._inner.handle_request(request)
        if self._lose and self._lose in kind(request):
            answer.close()
            raise httpx.ReadTimeout("lost", request=request)
        return answer

    def close(self):
        self._inner.close()


def kind(request):
    body = request.content.decode()
    return next((name for name in ("smb_app_state_sync", "history") if name in body), "")


async def test_the_app_is_subscribed_first_then_contacts_then_history_each_once(tmp_path):
    wire = Recording()
    async with together(tmp_path) as rig:
        await post(rig.meta, "/customer/messages", {"number": NUMBER, "contact": "34600111222", "text": "hola"})
        said = await onboard(rig, graph_of(rig, wire))
        again = Recording()
        await onboard(rig, graph_of(rig, again))
        posts = [one for one in wire.seen + again.seen if one.startswith("POST")]
        subscribe = f"POST {WABA}/subscribed_apps "
        assert posts == [
            subscribe,
            f"POST {NUMBER}/smb_app_data smb_app_state_sync",
            f"POST {NUMBER}/smb_app_data history",
            subscribe,
        ]
        assert [line.split(" ")[1] for line in said[1:4]] == ["registered", "contacts", "history"]
        assert said[4:] == [f"{WABA}: 3 templates known"]

        async def templates():
            found = (await rig.admin.get(f"/v1/templates?number={NUMBER}")).json()["templates"]
            return {(one["name"], one["status"], one["category"]) for one in found}

        assert ("order_update", "APPROVED", "UTILITY") in await until(templates)

        async def complete():
            return (await number(rig))["history"]["status"] == "complete"

        await until(complete)
        shown = await number(rig)
        assert (shown["waba"], shown["sending"], shown["history"]["missing"]) == (WABA, "on", [])
        assert await rig.data("contacts", "contact.changed")
        lines = await asyncio.to_thread(lambda: list(follow(admin_of(rig), NUMBER, 5)))
        assert lines == [f"{NUMBER}: history complete"]


async def test_a_declined_history_is_said_and_no_failure(tmp_path):
    faults = calm()
    faults.history_declined = True
    async with together(tmp_path, faults=faults) as rig:
        await onboard(rig)
        lines = await asyncio.to_thread(lambda: list(follow(admin_of(rig), NUMBER, 30)))
        assert "declined" in lines[-1]
        assert (await number(rig))["history"]["status"] == "declined"


async def test_a_lost_answer_is_never_asked_again_in_the_same_run_and_is_known_in_the_next(tmp_path):
    async with together(tmp_path) as rig:
        wire = Recording(lose="history")
        with pytest.raises(click.ClickException, match="nobody knows whether history was accepted"):
            await onboard(rig, graph_of(rig, wire))
        assert sum("history" in one for one in wire.seen) == 1
        assert "asked_at" not in (await number(rig))["history"]
        said = await onboard(rig)
        assert said[-2] == f"{NUMBER}: history had been accepted already"


async def test_after_the_24_hours_it_says_what_can_still_be_done(tmp_path):
    faults = calm()
    faults.sync_late = True
    async with together(tmp_path, faults=faults) as rig:
        with pytest.raises(click.ClickException, match=r"within 24 hours .* Embedded Signup again"):
            await onboard(rig)


async def test_a_number_that_is_only_on_the_cloud_api_is_registered_and_not_synchronised(tmp_path):
    faults = calm()
    faults.on_biz_app = False
    async with together(tmp_path, faults=faults) as rig:
        wire = Recording()
        with pytest.raises(click.ClickException, match="No number of this account is in the Business App"):
            await onboard(rig, graph_of(rig, wire))
        assert not any("smb_app_data" in one for one in wire.seen)
        assert (await number(rig))["number"] == NUMBER


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"only": (STRANGER,)}, f"{STRANGER} is not a number of account {WABA}. It has: {NUMBER}.")],
)
async def test_a_number_of_somebody_else_is_refused_by_name(tmp_path, more, sentence):
    async with together(tmp_path) as rig:
        with pytest.raises(click.ClickException, match="is not a number") as refused:
            await onboard(rig, **more)
        assert refused.value.message == sentence


async def test_a_bad_token_and_a_silent_graph_are_told_apart(tmp_path):
    async with together(tmp_path) as rig:
        with pytest.raises(click.ClickException, match=r"error 190.*--token-file"):
            await onboard(rig, graph_of(rig, token="another"))
        nobody = GraphAccount(graph_client(), "http://127.0.0.1:9", "v26.0", DEFAULT_TOKEN)
        with pytest.raises(click.ClickException, match=r"did not answer \(ConnectError\)"):
            await onboard(rig, nobody)


async def test_the_command_exchanges_a_code_keeps_the_token_and_shows_progress(tmp_path):
    async with together(tmp_path / "data") as rig:
        about = {
            "admin_url": f"http://127.0.0.1:{rig.app.admin.port}",
            "meta_graph_url": str(rig.meta.base_url).rstrip("/"),
            "meta_app_id": APP_ID,
            "meta_app_secrets": DEFAULT_SECRET,
        }

        def run(token_file):
            command = ("onboard", "--waba", WABA, "--code", "once", "--save-token", token_file, "--wait", 30)
            return coexist(*command, cwd=tmp_path, **about)

        first = await asyncio.to_thread(run, tmp_path / "token")
        assert first.returncode == 0, first.stderr
        assert (tmp_path / "token").read_text() == DEFAULT_TOKEN
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
        assert first.stdout.splitlines()[-1] == f"{NUMBER}: history complete"
        assert DEFAULT_TOKEN not in first.stdout + first.stderr
        again = await asyncio.to_thread(run, tmp_path / "other")
        assert again.returncode == 1
        assert "The code was not exchanged" in again.stderr
        assert DEFAULT_SECRET not in again.stderr
        assert not (tmp_path / "other").exists()
        assert (await asyncio.to_thread(run, tmp_path / "token")).returncode == 2


def test_without_a_service_nothing_is_asked_of_meta(tmp_path):
    done = coexist("onboard", "--waba", WABA, cwd=tmp_path, data_dir=tmp_path, meta_access_token="t")
    assert done.returncode == 3
    assert "coexist run" in done.stderr


async def test_offboarding_pauses_a_send_and_reconnecting_lets_it_go_by_itself(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await until(rig.conversation)
        await rig.control("/trigger", {"name": "offboard", "number": NUMBER})

        async def stands(sending):
            return (await number(rig))["sending"] == sending

        await until(lambda: stands("paused"))
        command = await rig.send()
        story = (await until(lambda: queued(rig, command)))["story"]
        assert story[0]["event"] == "send.requested"
        await rig.control("/trigger", {"name": "reconnect", "number": NUMBER})
        await until(lambda: stands("on"))
        assert (await rig.outcome(command))["state"] == "accepted"
        kinds = [kind for kind, _, _ in await rig.events("account") if kind.startswith("number.")]
        assert kinds == ["number.onboarded", "number.offboarded", "number.reconnected"]


async def test_a_number_stays_silent_for_as_long_as_graph_does_not_know_it_as_coexisting(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        await until(rig.conversation)
        await rig.control("/faults", {"on_biz_app": False})
        await rig.control("/trigger", {"name": "reconnect", "number": NUMBER})

        async def because():
            return (await number(rig))["because"]

        await until(because)
        for lease in rig.app.keepers["echo_sync.messages"].held.values():
            await rig.app.runners["echo_sync.messages"].drain(lease)
        assert await because() == "reconnecting"


async def test_a_number_that_nobody_knows_cannot_be_shown_paused_or_synchronised(tmp_path):
    async with together(tmp_path) as rig:
        calls = [("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/syncs/history")]
        for method, path in calls:
            answer = await rig.admin.request(method, f"/v1/numbers/{STRANGER}{path}")
            assert (answer.status_code, answer.json()["title"]) == (404, "no such number")
        await rig.customer()
        await rig.data("account", "number.onboarded")
        assert (await rig.admin.post(f"/v1/numbers/{NUMBER}/syncs/photos")).status_code == 404
        assert (await rig.admin.post("/v1/numbers", json={"number": "../x"})).status_code == 422


async def queued(rig, command):
    answer = (await rig.admin.get(f"/v1/sends/{command}")).json()
    return answer if answer.get("state") == "queued" else None


@pytest.mark.parametrize(("rule", "kept"), [("all", 2), ("customers", 1), ("none", 0)])
async def test_private_contacts_are_kept_out_before_anything_is_stored(tmp_path, rule, kept):
    async with together(tmp_path, about={"contacts": rule}) as rig:
        await rig.customer(contact="34600111222")
        await until(rig.conversation)
        await rig.trigger("contact", contact="34600111222")
        await rig.trigger("contact", contact="34600999888")
        await rig.trigger("message", contact="34600111222")

        async def both():
            return len(await rig.events("timeline", "message.added")) == 2

        await until(both)
        assert len(await rig.events("history", "webhook.contact")) == kept
        if kept:
            await rig.data("contacts", "contact.changed")

        async def told():
            return len(await rig.events("contacts", "contact.changed")) == kept

        await until(told)


async def test_a_token_that_was_given_for_the_account_is_sealed_for_its_numbers(tmp_path):
    key = b64encode(b"k" * 32).decode()
    async with together(tmp_path, about={"encryption_keys": key, "meta_access_token": None}) as rig:
        said = await onboard(rig, token_is_theirs=True)
        assert f"{NUMBER}: token sealed and kept" in said
        assert (await number(rig))["token"] == "own"


async def test_without_a_key_the_account_s_token_is_not_kept_and_that_is_said(tmp_path):
    async with together(tmp_path) as rig:
        said = await onboard(rig, token_is_theirs=True)
        assert any("token not kept" in line and "COEXIST_ENCRYPTION_KEYS is not set" in line for line in said)
        assert (await number(rig))["token"] == "default"
