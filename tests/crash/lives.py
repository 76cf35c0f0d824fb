"""One data folder through many lives of its service, and Meta beside it, which goes on meanwhile."""

import asyncio
import time
from contextlib import contextmanager

import httpx

from services.app import open_app
from services.settings import Settings
from tests.crash.books import Books
from tests.crash.sends import Sends
from tests.crash.world import people_of
from tests.processes import Sandbox, Service, probe, settings_for

SETTLE_S = 300
AHEAD_S = 600
"""Past the answers that were open; waits for evidence begin anew after a stop, so that time also runs faster."""
AHEAD_PACE = 5


class Lives:
    """With `with`: Meta runs, has `trouble`, and sends its webhooks to where the service of this folder listens."""

    def __init__(self, folder, *, seed, numbers, trouble):
        self.data = folder / "data"
        self._folder, self._seed, self._numbers, self._trouble = folder, seed, numbers, trouble
        self._settings = settings_for(self.data)
        self._client = httpx.Client(timeout=5, trust_env=False)

    def __enter__(self):
        webhook = f"http://127.0.0.1:{self._settings['port']}/webhooks/meta"
        self.sandbox = Sandbox(self._folder, webhook, seed=self._seed, numbers=self._numbers)
        self._settings["meta_graph_url"] = self.sandbox.url
        self.sandbox.call("POST", "/faults", self._trouble)
        return self

    def __exit__(self, *_):
        self.sandbox.kill()
        self._client.close()

    def service(self, source=None):
        """The service of this folder, or another version of it, killed at the end of `with`."""
        return Service(self._settings, self._folder, client=self._client, source=source)

    def begin(self, plan, for_s=1, source=None):
        """The first life, in which people write who will be written to."""
        self.sandbox.call("POST", "/traffic", plan)
        with self.service(source) as first:
            first.in_service(probe())
            time.sleep(for_s)

    def sends(self, per_s):
        """Somebody who writes commands to everybody who has written."""
        return Sends(f"http://127.0.0.1:{self._settings['admin_port']}", people_of(self.sandbox), per_s, self._seed)

    @contextmanager
    def at_rest(self):
        """The books, after a last life that has read everything, and one later in which nothing stays doubtful."""
        with self.service() as last:
            last.in_service(probe())
            books = Books(self.data)
            self._come_to_rest(books)
            assert last.stop()[0] == 0
        asyncio.run(self._decide_what_is_doubtful(books))
        yield books
        books.close()

    def _come_to_rest(self, books, doubtful=list):
        """Wait until Meta has delivered everything, every processor has read everything, and nothing is doubtful."""
        end = time.monotonic() + SETTLE_S
        while True:
            outstanding = self.sandbox.call("POST", "/flush", {"timeout_s": 1})["outstanding"]
            left = outstanding, books.behind(), len(doubtful())
            if left == (0, 0, 0):
                return
            assert time.monotonic() < end, f"undelivered, unread, undecided: {left}"
            time.sleep(0.05)

    async def _decide_what_is_doubtful(self, books):
        """Boot the same app on the same folder, later: every wait for evidence is over."""
        began = time.time()

        def clock():
            return began + AHEAD_S + AHEAD_PACE * (time.time() - began)

        async with open_app(Settings.model_validate(self._settings), clock=clock) as app:
            working = asyncio.create_task(app.run())
            await asyncio.to_thread(self._come_to_rest, books, books.unsettled)
            app.stopping.set()
            await working
