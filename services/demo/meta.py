"""The sandbox as the demo uses it: a process of its own, started and asked over HTTP."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from services.edge import PortInUse, listen
from services.running import App
from services.sandbox.config import DEFAULT_PORT

START_S = 30.0


def free_or_any(port: int) -> int:
    """The port if nobody listens there, else 0: any free one."""
    try:
        listen("127.0.0.1", port).close()
    except PortInUse:
        return 0
    return port


class MetaInABox:
    """The sandbox's control API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer of a control call. Raises httpx.HTTPStatusError when it is refused."""
        response = await self._client.request(method, f"/sandbox/api{path}", json=body)
        response.raise_for_status()
        if "ndjson" in response.headers.get("content-type", ""):
            return [orjson.loads(part) for part in response.content.splitlines() if part]
        return orjson.loads(response.content) if response.content else None

    async def point_to(self, app: App) -> None:
        """Let webhooks go to this app."""
        port = app.public.port if app.public else 0
        await self.call("POST", "/webhook", {"url": f"http://127.0.0.1:{port}/webhooks/meta"})

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


@asynccontextmanager
async def sandbox(seed: int, port: int | None = None) -> AsyncIterator[MetaInABox]:
    """A sandbox process, from its first answer to its end; it also ends when this process does, however that ends."""
    with _lifeline() as held:
        process = await _started(seed, free_or_any(DEFAULT_PORT) if port is None else port, held)
        async with _in_use(process) as meta:
            yield meta


async def _started(seed: int, port: int, lifeline: int) -> asyncio.subprocess.Process:
    program = Path(sys.argv[0]) if Path(sys.argv[0]).name == "coexist" else Path(sys.executable).with_name("coexist")
    about = ("--port", str(port), "--webhook-url", "", "--seed", str(seed), "--until-stdin-ends")
    command = (sys.executable, str(program), "sandbox", *about)
    output = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=lifeline, stdout=output, start_new_session=True)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe that only this process can write to, so the kernel ends it with the process."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


@asynccontextmanager
async def _in_use(process: asyncio.subprocess.Process) -> AsyncIterator[MetaInABox]:
    try:
        async with asyncio.timeout(START_S):
            first = await process.stdout.readline() if process.stdout else b""
        meta = MetaInABox(first.split()[1].decode().rstrip("/"))
        yield meta
        await meta.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
