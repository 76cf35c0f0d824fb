"""A public listener in a process of its own, so that its memory can be read: prints its port, ends with its input."""

import asyncio
import sys
import time

from ingest.app import create_app
from ingest.webhook import Webhook
from services.edge import Edge
from tests.app.edge_rig import SECRET, TOKEN, Recorded


async def main():
    recorded = Recorded()
    edge = Edge(create_app(Webhook(recorded.append, [SECRET], TOKEN, time.time, recorded)), "127.0.0.1", 0)
    await edge.start()
    print(edge.port, flush=True)  # noqa: T201 - this is how the parent learns it
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await edge.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
