"""The service and Meta in a box in one process, over real HTTP: what the tests of the whole app start from."""

import asyncio
import contextlib
from pathlib import Path

import httpx
import orjson

from sender.graph import tls
from services.app import ROLES, open_app
from services.settings import Settings
from tests.app.sandbox_receiver import CONTACT, NUMBER, post, sandbox
from tests.processes import DEFAULT_SECRET, DEFAULT_TOKEN, DEFAULT_VERIFY_TOKEN, probe, sign

DEADLINE_S = 30
LOOK_S = 0.01
ADDED = "message.added"


def settings(folder: Path, graph_url="http://127.0.0.1:9", **more):
    return Settings.model_validate(
        {
            "data_dir": folder,
            "host": "127.0.0.1",
            "port": 0,
            "admin_port": 0,
            "partitions": 2,
            "meta_app_secrets": DEFAULT_SECRET,
            "meta_verify_token": DEFAULT_VERIFY_TOKEN,
            "meta_access_token": DEFAULT_TOKEN,
            "meta_graph_url": graph_url,
            "automatic_within_s": 0,  # in tests people answer at once
            **more,
        }
    )


class Rig:
    """A running app, a client of its admin listener, and Meta's control API where there is one."""

    def __init__(self, app, admin, meta=None):
        self.app, self.admin, self.meta = app, admin, meta
        self.webhook = f"http://127.0.0.1:{app.public.port}/webhooks/meta" if app.public else ""

    async def post(self, body, secret=DEFAULT_SECRET):
        """The answer to a signed webhook."""
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, secret.encode())}
        return await self.admin.post(self.webhook, content=body, headers=headers)

    async def trigger(self, name, **about):
        """Send one signed webhook of a kind until it is taken, as Meta does: while the log is slow it is refused."""
        body = probe(name, number=NUMBER, **about)

        async def taken():
            answer = await self.post(body)
            assert answer.status_code in (200, 503)
            return answer.status_code == 200

        await until(taken)

    async def control(self, path, body=None):
        """A control call of the sandbox."""
        return await post(self.meta, path, body)

    async def customer(self, text="Hola!", contact=CONTACT, **more):
        """A customer writes; the message's id."""
        told = {"number": NUMBER, "contact": contact, "text": text, **more}
        return (await self.control("/customer/messages", told))["wamid"]

    async def owner(self, text="Ara hi vaig", contact=CONTACT, **more):
        """The owner writes in the Business App; the message's id."""
        return (await self.control("/app/messages", {"number": NUMBER, "contact": contact, "text": text, **more}))[
            "wamid"
        ]

    async def send(self, text="Resposta", to=CONTACT, **more):
        """Write a send command as soon as its number is known; its id."""
        body = {"number": NUMBER, "to": to, "type": "text", "text": {"body": text}, **more}
        await until(lambda: self.app.knows(body["number"]))
        answer = await self.admin.post("/v1/messages", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["command_id"]

    async def records(self, topic):
        """Everything on a topic."""
        found = []
        for partition in range(self.app.log.partitions):
            found += await self.app.log.read(topic, partition, 0, 1_000_000)
        return found

    async def events(self, topic, kind="", subject=""):
        """Type, subject and data of the events of a topic."""
        return [
            (record.event.type, record.event.subject, orjson.loads(record.event.data or b"null"))
            for record in await self.records(topic)
            if kind in ("", record.event.type) and subject in ("", record.event.subject)
        ]

    async def data(self, topic, kind, subject=""):
        """The data of the first event of a kind about a subject, as soon as there is one."""
        return (await until(lambda: self.events(topic, kind, subject)))[0][2]

    async def outcome(self, command_id):
        """Types of a command's outcomes, once it has a final one."""

        async def final():
            state = (await self.admin.get(f"/v1/sends/{command_id}")).json()
            return state if state.get("state") not in (None, "queued", "open", "ambiguous") else None

        return await until(final)

    async def conversation(self, contact=CONTACT):
        """The conversation with a contact, as the API shows it; None where there is none yet."""
        answer = await self.admin.get("/v1/conversations", params={"number": NUMBER})
        found = [one for one in answer.json()["conversations"] if one["contact"].get("wa_id") == contact]
        return found[0] if found else None

    async def owned(self, owner, contact=CONTACT):
        """The conversation, as soon as the API, and so the sender, knows it as this owner's."""

        async def theirs():
            found = await self.conversation(contact)
            return found if found and found["owner"] == owner else None

        return await until(theirs)


async def until(check, deadline_s=DEADLINE_S):
    """What the coroutine function `check` returned, as soon as that is true."""
    async with asyncio.timeout(deadline_s):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def service(folder, graph_url="http://127.0.0.1:9", roles=ROLES, *, meta=None, about=None, **wiring):
    """The app with all its roles, ready; it must still work when this ends."""
    async with open_app(settings(folder, graph_url, **(about or {})), roles, **wiring) as app:
        working = asyncio.create_task(app.run())
        url = f"http://127.0.0.1:{app.admin.port}"
        admin = httpx.AsyncClient(base_url=url, verify=tls(), timeout=DEADLINE_S, trust_env=False)
        async with admin:
            rig = Rig(app, admin, meta)
            await until(lambda: _ready(rig))
            yield rig
        assert not working.done()
        app.stopping.set()
        await working


async def _ready(rig):
    return (await rig.admin.get("/readyz")).status_code == 200


@contextlib.asynccontextmanager
async def together(folder, about=None, wiring=None, **config):
    """Service and sandbox, each knowing the other; without trouble unless `faults` say so."""
    async with sandbox(**config) as meta:
        url = str(meta.base_url).rstrip("/")
        async with service(folder, url, meta=meta, about=about, **(wiring or {})) as rig:
            await post(meta, "/webhook", {"url": rig.webhook})
            yield rig
