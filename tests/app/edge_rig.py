"""A public listener on a free port, a log that only records, and a client that is as rude as it has to be."""

import asyncio
import contextlib
import json
import time

from ingest.app import create_app
from ingest.refusals import Clients
from ingest.signature import sign
from ingest.webhook import Webhook
from services.edge import Edge

SECRET = b"0123456789abcdef0123456789abcdef"
TOKEN = b"our-own-string"
MESSAGE = {"from": "15550100199", "id": "wamid.1", "timestamp": "1790000000", "type": "text", "text": {"body": "hi"}}


def body_of(*messages):
    value = {"metadata": {"phone_number_id": "8"}, "messages": list(messages or (MESSAGE,))}
    entry = {"id": "7", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


class Recorded:
    """Stands for the log and for the metrics: records what each was told."""

    def __init__(self):
        self.appended = []
        self.appended_at = []
        self.answers = []
        self.refusals = []
        self.secrets = []
        self.unconfirmed_count = 0
        self.failure = None
        self.durable = asyncio.Event()
        self.durable.set()
        self.waiting = asyncio.Event()

    async def append(self, entries):
        self.waiting.set()
        await self.durable.wait()
        if self.failure is not None:
            raise self.failure
        self.appended.append(entries)
        self.appended_at.append(time.time())

    def answered(self, status, seconds, items):
        assert seconds >= 0
        self.answers.append((status, items))

    def refused(self, reason):
        self.refusals.append(reason)

    def secret(self, index):
        self.secrets.append(index)

    def unconfirmed(self):
        self.unconfirmed_count += 1


class Rig:
    def __init__(self, edge, recorded, secrets):
        self.edge = edge
        self.recorded = recorded
        self.secrets = secrets

    async def connect(self):
        return Client(*await asyncio.open_connection("127.0.0.1", self.edge.port))

    async def exchange(self, request, deadline_s=30.0):
        """Send bytes on a connection of its own, and read one answer."""
        client = await self.connect()
        try:
            client.writer.write(request)
            return await client.answer(deadline_s)
        finally:
            await client.close()

    async def post(self, body=None, **more):
        return await self.exchange(request(body if body is not None else body_of(), **more))

    async def until(self, condition, deadline_s=30.0):
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, "did not happen in time"
            await asyncio.sleep(0.005)


class Client:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def answer(self, deadline_s=30.0):
        """One response: status, headers, body. Status 0 when the connection ended without one."""
        async with asyncio.timeout(deadline_s):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, {}, b""
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return int(lines[0].split()[1]), headers, body

    async def closed(self, deadline_s=30.0):
        """Wait until the other side has ended the connection."""
        async with asyncio.timeout(deadline_s):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1):
                await self.writer.wait_closed()


def request(body, *, headers=None, sign_with=SECRET, method="POST", path="/webhooks/meta", more=()):
    """A request byte by byte; `headers` replaces the usual ones."""
    if headers is None:
        headers = [("content-type", "application/json"), ("x-hub-signature-256", sign(body, sign_with))]
    lines = [f"{method} {path} HTTP/1.1", "host: x", *(f"{name}: {value}" for name, value in (*headers, *more))]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def listening(limits=None, secrets=None, clients=None):
    """A rig that listens until the block ends."""
    recorded = Recorded()
    secrets = secrets if secrets is not None else [SECRET]
    clients = clients or Clients()
    app = create_app(Webhook(recorded.append, secrets, TOKEN, time.time, recorded, clients))
    edge = Edge(app, "127.0.0.1", 0, limits, None if clients.proxies else clients.unsigned)
    await edge.start()
    try:
        yield Rig(edge, recorded, secrets)
    finally:
        recorded.durable.set()
        await edge.stop(1)
