"""A receiver of relayed events over real HTTP: it checks signatures with the receivers' own library, and has moods."""

import asyncio
import contextlib
import json
import socket

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.edge import Edge


class Receiver:
    """`taken` holds the events that were answered 200, in order; `seen` the ids of all that came.

    `mood` is a status to answer with, or `hang`. `secrets` are the ones it would accept, by any of them.
    """

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}/events"
        self.secrets = []
        self.mood = 200
        self.headers = {}
        self.refuse = set()
        self.taken, self.seen, self.forged = [], [], 0
        self.came = asyncio.Event()

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            piece = await receive()
            if piece["type"] == "http.disconnect":
                return
            body, more = body + piece.get("body", b""), piece.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status = await self._judge(headers, body)
        answer = [(b"content-length", b"0"), *((k.encode(), v.encode()) for k, v in self.headers.items())]
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body"})

    async def _judge(self, headers, body):
        event = json.loads(body)
        self.seen.append(headers["webhook-id"])
        self.came.set()
        if self.secrets:
            try:
                Webhook(self.secrets[0]).verify(body, headers)
            except WebhookVerificationError:
                self.forged += 1
                return 401
        if self.mood == "hang":
            await asyncio.Event().wait()
        if event["id"] in self.refuse:
            return 422
        if self.mood == 200:
            self.taken.append(event)
        return self.mood

    @contextlib.asynccontextmanager
    async def listening(self):
        """Answer on the port until the end of the block; connections under way are cut then."""
        edge = Edge(self, "127.0.0.1", self.port)
        await edge.start()
        try:
            yield self
        finally:
            await edge.stop(0.05)


def receiver():
    """A receiver on a port of its own that nobody listens on yet."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return Receiver(found.getsockname()[1])
