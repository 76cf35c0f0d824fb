"""Somebody who writes send commands at a steady rate, and repeats each until the service has taken it."""

import random
import threading
import time

import httpx

PAUSE_S = 0.02
AGAIN = (404, 503)
"""Nobody has read yet of the number, though Meta has told of it; or the log is away."""


class Sends:
    """Writes commands from a thread to `people`, pairs of number and phone. `taken`: ids that were answered 202."""

    def __init__(self, admin, people, per_s, seed, name="command"):
        self._name = name
        self.taken = []
        self.refused = []
        self._admin = admin
        self._people = people
        self._per_s = per_s
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)

    def _run(self):
        started, written = time.monotonic(), 0
        with httpx.Client(base_url=self._admin, timeout=5, trust_env=False) as client:
            while not self._over.is_set():
                if (time.monotonic() - started) * self._per_s > written:
                    written += 1
                    self._write(client, self._command(written))
                else:
                    self._over.wait(1 / self._per_s / 4)

    def _command(self, n):
        number, to = self._random.choice(self._people)
        return {
            "command_id": f"{self._name}-{n}",
            "number": number,
            "to": to,
            "type": "text",
            "text": {"body": f"Resposta {n}"},
            "origin": self._random.choice(("agent", "agent", "campaign", "bot")),
            "policy": self._random.choice(("at_most_once", "at_least_once")),
            "lane": self._random.choice(("", "", "bulk")) or None,
        }

    def _write(self, client, command):
        body = {name: value for name, value in command.items() if value is not None}
        while not self._over.is_set():
            try:
                answer = client.post("/v1/messages", json=body)
            except httpx.HTTPError:
                self._over.wait(PAUSE_S)
                continue
            if answer.status_code == 202:
                self.taken.append(body["command_id"])
                return
            if answer.status_code not in AGAIN:
                self.refused.append(answer.text)
                return
            self._over.wait(PAUSE_S)
