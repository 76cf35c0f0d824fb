"""A backend for sandbox tests that remembers what it got, and short ways to use a sandbox."""

import asyncio
import contextlib
import hmac
import json
import socket
from collections import Counter
from hashlib import sha256

import httpx
import uvicorn

from services.sandbox.app import serve
from services.sandbox.config import DEFAULT_SECRET, SandboxConfig
from services.sandbox.faults import calm

NUMBER = "106540352242922"
CONTACT = "34600111222"
ALICE = {"number": NUMBER, "contact": CONTACT, "text": "Què tal? 😀"}
TEXT = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "Hola"}}
TOKEN = {"Authorization": "Bearer SANDBOX-TOKEN"}
DEADLINE_S = 30


class Receiver:
    """A backend that remembers what it got. `status` decides the answer: a number, or seconds to wait first."""

    def __init__(self):
        self.bodies = []
        self.items = Counter()
        self.order = []
        self.status = lambda _nth: 200
        self.delay_s = 0.0
        self.url = ""

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body = b""
        while (part := await receive()).get("more_body") or part.get("body"):
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        if scope["method"] == "GET":
            query = httpx.QueryParams(scope["query_string"].decode())
            status, text = (
                (200, query["hub.challenge"]) if query["hub.verify_token"] == "coexist-sandbox" else (403, "")
            )
        else:
            self.take(body, {name.decode(): value.decode() for name, value in scope["headers"]})
            await asyncio.sleep(self.delay_s)
            status, text = self.status(len(self.bodies)), ""
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def take(self, body, headers):
        expected = "sha256=" + hmac.new(DEFAULT_SECRET.encode(), body, sha256).hexdigest()
        assert headers["x-hub-signature-256"] == expected
        assert headers["content-type"] == "application/json"
        assert body.isascii()
        self.bodies.append(json.loads(body))
        for kind, item in self.read(self.bodies[-1]):
            key = f"{kind}:{item['id']}" + (f":{item['status']}" if kind == "statuses" else "")
            self.items[key] += 1
            self.order.append(key)

    @staticmethod
    def read(body):
        for entry in body["entry"]:
            for change in entry["changes"]:
                for kind in ("messages", "message_echoes", "statuses"):
                    for item in change["value"].get(kind, ()):
                        yield kind, item

    def found(self, kind):
        return [item for body in self.bodies for got, item in self.read(body) if got == kind]


@contextlib.asynccontextmanager
async def listening(app):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", access_log=False, log_config=None))
    server.capture_signals = contextlib.nullcontext
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def sandbox(**settings):
    ready, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    config = SandboxConfig(port=0, **{"faults": calm(), "seed": 11, **settings})
    task = asyncio.create_task(serve(config, ready.set_result, stop))
    try:
        port = await asyncio.wait_for(ready, DEADLINE_S)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=2 * DEADLINE_S) as client:
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


async def post(client, path, body=None, status=(200, 201, 202)):
    answer = await client.post("/sandbox/api" + path, json=body or {})
    assert answer.status_code in status, answer.text
    return answer.json()


async def flush(client):
    left = await post(client, "/flush", {"timeout_s": DEADLINE_S})
    assert left["outstanding"] == 0
    return left


async def send(client, **more):
    return await client.post(f"/v26.0/{NUMBER}/messages", headers=TOKEN, json=TEXT | more)


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


async def until(check):
    """Wait for a condition, given as a coroutine function, and return what it returned."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(0.01)
