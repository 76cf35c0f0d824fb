"""Confirm bookings over plain HTTP: signed webhooks come in, one POST per confirmation goes out. Standard library only.

A customer writes "table 20:30"; the booking is kept and confirmed. When the owner types "change 21:00" in the Business
App, the booking is changed and nothing is said: the customer has read it from the owner. Webhooks that come twice find
their id among the ones that were taken, in the same transaction as the booking.
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TABLES = """
CREATE TABLE IF NOT EXISTS taken (webhook TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS bookings (conversation TEXT PRIMARY KEY, at TEXT, by TEXT);
"""
WANTED = re.compile(r"\btable (\d\d?:\d\d)\b", re.IGNORECASE)
CHANGED = re.compile(r"\bchange (\d\d?:\d\d)\b", re.IGNORECASE)
TOLERANCE_S = 300
BODY_BYTES_MAX = 1 << 20


def is_genuine(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Was this signed with our secret, within five minutes? (Standard Webhooks)"""
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > TOLERANCE_S:
        return False
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    wanted = base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256"))
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(f"v1,{wanted.decode()}".encode(), one.encode()) for one in given)


class Desk:
    """The bookings, and the way to say that one is confirmed."""

    def __init__(self, path: str, coexist: str) -> None:
        self.file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.file.executescript(TABLES)
        self.coexist = coexist
        self.one_by_one = threading.Lock()

    def take(self, webhook: str, event: dict) -> None:
        """Act on one event, once. Raises OSError when Coexist cannot be reached: the webhook will come again."""
        with self.one_by_one:
            self.settle(webhook, event)

    def settle(self, webhook: str, event: dict) -> None:
        """Note the webhook and what it led to, together."""
        self.file.execute("BEGIN IMMEDIATE")
        try:
            fresh = self.file.execute("INSERT INTO taken VALUES (?) ON CONFLICT DO NOTHING", (webhook,)).rowcount
            if fresh and event["type"] == "message.added" and not event["data"]["historical"]:
                self.read(event["data"])
            self.file.execute("COMMIT")
        except BaseException:
            self.file.execute("ROLLBACK")
            raise

    def read(self, message: dict) -> None:
        """A booking, a change of one, or neither."""
        text, conversation = message["content"].get("body", ""), message["conversation_id"]
        if message["origin"] == "customer" and (found := WANTED.search(text)):
            self.file.execute("REPLACE INTO bookings VALUES (?, ?, 'customer')", (conversation, found[1]))
            self.confirm(message, found[1])
        elif message["origin"] == "business_app" and (found := CHANGED.search(text)):
            self.file.execute(
                "UPDATE bookings SET at = ?, by = 'owner' WHERE conversation = ?", (found[1], conversation)
            )

    def confirm(self, message: dict, at: str) -> None:
        """Ask Coexist to send it, unless a person is talking with the customer by then."""
        contact = message["contact"]
        command = {
            "command_id": f"booking-{hashlib.sha256(message['message_id'].encode()).hexdigest()[:24]}",
            "number": message["number"],
            "to": contact.get("wa_id") or contact["user_id"],
            "type": "text",
            "text": {"body": f"Your table at {at} is booked. See you soon!"},
            "only_if": {"not_taken_over": True},
        }
        request = urllib.request.Request(
            f"{self.coexist}/v1/messages", json.dumps(command).encode(), {"Content-Type": "application/json"}
        )
        if token := os.environ.get("COEXIST_ADMIN_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as refusal:
            if refusal.code >= 500:
                raise
            print("not sent:", json.load(refusal).get("title"), file=sys.stderr, flush=True)


def handler(desk: Desk, secret: str) -> type[BaseHTTPRequestHandler]:
    """Answers webhooks: 204 once it is done, 401 for a stranger, 500 for "send it again"."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("content-length", 0)), BODY_BYTES_MAX))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(self.judge(headers, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def judge(self, headers: dict[str, str], body: bytes) -> int:
            if not is_genuine(headers, body, secret):
                return 401
            try:
                desk.take(headers["webhook-id"], json.loads(body))
            except OSError:
                return 500
            return 204

        def log_message(self, *_: object) -> None:
            """Nothing: what passes here is people's own."""

    return Handler


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--coexist", default="http://127.0.0.1:8081", help="Coexist's admin listener")
    parser.add_argument("--file", default="bookings.db", help="where the bookings are kept")
    told = parser.parse_args()
    secret = os.environ.get("BOOKING_SECRET", "")
    if not secret.startswith("whsec_"):
        sys.exit("Set BOOKING_SECRET to the secret that `coexist relay add` printed.")
    server = ThreadingHTTPServer(("127.0.0.1", told.port), handler(Desk(told.file, told.coexist), secret))
    print(f"listening on {server.server_port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
