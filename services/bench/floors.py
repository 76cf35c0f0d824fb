"""The floors of the bench: the least work that could do the same job, each in a process of its own.

`http PORT` answers 200 to a body it has read; `pywa PORT` is the usual client library doing its part of it; `upsert`
deduplicates messages and keeps conversations in plain SQL; `commit` makes single rows durable, one after the other.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw

from services.bench.bodies import PATH, SECRET, VERIFY_TOKEN, Workload
from services.bench.load import percentile
from services.serve import loop_factory

KEEP_ALIVE_S = 75
"""As long as a real edge keeps an idle connection, so that no request meets one that is being closed."""
BATCH = 500
UPSERT_EVENTS = 100_000
UPSERT_CONVERSATIONS = 1_200

UPSERT_SCHEMA = """
CREATE TABLE messages (number TEXT, wamid TEXT, body BLOB NOT NULL, PRIMARY KEY (number, wamid)) WITHOUT ROWID;
CREATE TABLE conversations (
  number TEXT, contact TEXT, newest_at REAL NOT NULL, unread INTEGER NOT NULL, PRIMARY KEY (number, contact)
) WITHOUT ROWID;
"""
UPSERT_MESSAGE = "INSERT INTO messages VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
UPSERT_CONVERSATION = """
INSERT INTO conversations VALUES (?, ?, ?, 1) ON CONFLICT (number, contact) DO UPDATE SET
  newest_at = max(newest_at, excluded.newest_at), unread = unread + 1
"""

Asgi = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


async def _read_and_answer(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def _pywa() -> Asgi:
    """The library's own webhook route, with the signature checked, on FastAPI."""
    from fastapi import FastAPI  # noqa: PLC0415
    from pywa_async import WhatsApp  # type: ignore[import-not-found]  # noqa: PLC0415 - measured only where it is there

    app = FastAPI()
    WhatsApp(
        phone_id="800000000000000",
        token="bench",  # noqa: S106 - nothing is sent
        server=app,
        webhook_endpoint=PATH,
        verify_token=VERIFY_TOKEN,
        app_secret=SECRET,
        validate_updates=True,
    )
    return app


def serve(app: Asgi, port: int) -> None:
    """Serve on loopback until a signal comes, on uvicorn's fastest parts."""
    import uvicorn  # noqa: PLC0415 - the other floors do without it

    config = uvicorn.Config(
        app,
        port=port,
        http="httptools",
        loop="none",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        interface="asgi3",
    )
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(uvicorn.Server(config).serve())


def connect(folder: str) -> apsw.Connection:
    """A fresh file with the durability of the service's own."""
    connection = apsw.Connection(str(Path(folder) / "floor.db"))
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", "FULL")
    return connection


def upsert() -> dict[str, float]:
    """Events a second that plain SQL deduplicates and folds into conversations, in batches of 500."""
    body = Workload().body(0)
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder:
        connection = connect(folder)
        connection.execute(UPSERT_SCHEMA)
        rows = [(f"8{i % 12:014d}", f"wamid.{i:020d}", body) for i in range(UPSERT_EVENTS)]
        people = [(f"8{i % 12:014d}", f"1555{i % UPSERT_CONVERSATIONS:07d}", float(i)) for i in range(UPSERT_EVENTS)]
        started = time.perf_counter()
        for start in range(0, UPSERT_EVENTS, BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(UPSERT_MESSAGE, rows[start : start + BATCH])
            connection.executemany(UPSERT_CONVERSATION, people[start : start + BATCH])
            connection.execute("COMMIT")
        took = time.perf_counter() - started
        connection.close()
    return {"per_s": UPSERT_EVENTS / took}


def commit(rate_per_s: float, seconds: float) -> dict[str, float]:
    """The times of single-row commits that are due at a rate, in milliseconds from when they were due."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder:
        connection = connect(folder)
        connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, batch BLOB NOT NULL)")
        began = time.perf_counter()
        while (due := began + len(times) / rate_per_s) < began + seconds:
            time.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            connection.execute("INSERT INTO log (batch) VALUES (?)", (b"x" * 900,))
            times.append(time.perf_counter() - started)
        connection.close()
    times.sort()
    return {"p50_ms": percentile(times, 0.50) * 1000, "p99_ms": percentile(times, 0.99) * 1000}


def main() -> None:
    """Run the floor that the arguments name."""
    name, *rest = sys.argv[1:]
    if name == "http":
        serve(_read_and_answer, int(rest[0]))
    elif name == "pywa":
        serve(_pywa(), int(rest[0]))
    elif name == "upsert":
        print(json.dumps(upsert()))
    elif name == "commit":
        print(json.dumps(commit(float(rest[0]), float(rest[1]))))


if __name__ == "__main__":
    main()
