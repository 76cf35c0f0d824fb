"""The network between brokers and to them, as links that can be cut: a proxy on each, no privileges needed.

Whoever looks at broker j sees it under an address of his own: 127.0.9.j for clients, 127.0.(10+i).j for broker i, all
on loopback. A cut link keeps its connections open and passes nothing, like a dead router; what waited in it is
delivered after the cut, unless its sender has given the connection up.
"""

import asyncio
import contextlib
import threading

CLIENTS = 0
CHUNK_BYTES = 64 * 1024


def address(viewer, broker):
    """Where `viewer`, a broker's number or CLIENTS, finds a broker."""
    return f"127.0.{10 + viewer if viewer else 9}.{broker}"


class Links:
    """Proxies for links, each given as (viewer, broker, port); they run in a thread of their own."""

    def __init__(self, links):
        self._gates = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._open(links))

    def cut(self, broker):
        """Cut everything that comes to the broker and all that it says to other brokers."""
        self._call(self._set(broker, passing=False))

    def heal(self, broker):
        """Undo `cut`."""
        self._call(self._set(broker, passing=True))

    def close(self):
        """Close everything."""
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self, links):
        self._servers = []
        for viewer, broker, port in links:
            gate = self._gates.setdefault((viewer, broker), asyncio.Event())
            gate.set()
            serve = self._server(port, gate)
            self._servers.append(await asyncio.start_server(serve, address(viewer, broker), port))

    async def _set(self, broker, *, passing):
        for link, gate in self._gates.items():
            if broker in link:
                if passing:
                    gate.set()
                else:
                    gate.clear()

    async def _shut(self):
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _server(self, port, gate):
        async def serve(reader, writer):
            with contextlib.suppress(OSError):
                await gate.wait()
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
                pumps = [
                    asyncio.ensure_future(_pump(reader, there_writer, gate)),
                    asyncio.ensure_future(_pump(there_reader, writer, gate)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                there_writer.transport.abort()
            writer.transport.abort()

        return serve


async def _pump(reader, writer, gate):
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            await gate.wait()
            if reader.exception() is not None:
                return
            writer.write(data)
            await writer.drain()
