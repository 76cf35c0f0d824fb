"""The processes of a cluster, each with its own folder and ports, killed and started again as the same."""

import asyncio
import time

from services.app import open_app
from services.settings import Settings
from tests.processes import Service, settings_for

ROLES = {
    "ingest": ("--roles", "ingest"),
    "echo": ("--roles", "echo-sync"),
    "sender": ("--roles", "sender"),
    "all": (),
}
AHEAD = "ahead"
AHEAD_S = 600
"""Past the answers that were open; waits for evidence begin anew after a stop, so that time also runs faster."""
AHEAD_PACE = 5


class Fleet:
    """Some processes by name. With `with`: `names` are started, and all are killed at the end, those of `later` too.

    `source`: the tree of another version, as which they begin.
    """

    def __init__(self, cluster, folder, graph_url, client, names=tuple(ROLES), later=(), source=None):
        self._source = source
        self._folder, self._client, self._names = folder, client, names
        everybody = (*names, *later, AHEAD)
        self.settings = {name: settings_for(folder / name, graph_url, **cluster.settings) for name in everybody}
        self.processes = {}

    def __enter__(self):
        try:
            for name in self._names:
                self.start(name, self._source)
            for process in self.processes.values():
                process.ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        self.kill()

    def __getitem__(self, name):
        return self.processes[name]

    def start(self, name, source=None):
        """Start a process; `source` is the tree of another version."""
        arguments = ROLES[name.partition("-")[0]]
        folder, about = self._folder / name, {"name": name, "client": self._client, "source": source}
        self.processes[name] = Service(self.settings[name], folder, *arguments, **about)
        return self.processes[name]

    def restart(self, name):
        """SIGKILL and start; it may not be ready yet."""
        self.processes[name].kill()
        return self.start(name)

    def kill(self):
        for process in self.processes.values():
            process.kill()

    def listeners(self):
        """The processes that take webhooks."""
        return [process for name, process in self.processes.items() if name.startswith(("ingest", "all"))]

    async def decide_what_is_doubtful(self, sandbox, books):
        """Boot the same app on the same cluster, later: every wait for evidence is over."""
        loop = asyncio.get_running_loop()
        wall, began = time.time(), loop.time()

        def clock():
            return wall + AHEAD_S + AHEAD_PACE * (loop.time() - began)

        async with open_app(Settings.model_validate(self.settings[AHEAD]), clock=clock) as app:
            working = asyncio.create_task(app.run())
            webhook = f"http://127.0.0.1:{self.settings[AHEAD]['port']}/webhooks/meta"
            await asyncio.to_thread(sandbox.call, "POST", "/webhook", {"url": webhook})
            await books.rest(sandbox, decided=True)
            app.stopping.set()
            await working
