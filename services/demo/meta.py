"""The sandbox as the demo uses it: a process of its own, started and asked over HTTP."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
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
    """A sandbox process, from its first answer to its end."""
    wanted = free_or_any(DEFAULT_PORT) if port is None else port
    program = Path(sys.argv[0]) if Path(sys.argv[0]).name == "coexist" else Path(sys.executable).with_name("coexist")
    command = [sys.executable, str(program), "sandbox", "--port", str(wanted), "--webhook-url", "", "--seed", str(seed)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, start_new_session=True)
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
