"""What no honest client does: floods, slow trickles and smuggled requests (reliability E5 to E8, E14)."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from services.edge import Limits
from tests.app.edge_rig import Client, body_of, listening, request
from tests.processes import busy

MIB = 1024 * 1024
ROOT = Path(__file__).parent.parent.parent


@contextlib.asynccontextmanager
async def child():
    """A listener in a child process: its port, and its resident memory in bytes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.app.edge_child",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    port = int(await asyncio.wait_for(process.stdout.readline(), 60))

    def resident_bytes():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    yield port, resident_bytes
    _, errors = await process.communicate(b"")
    assert errors == b""
    assert process.returncode == 0


async def pour(port, head, piece, total_bytes):
    """Send `total_bytes` as fast as they are taken; the answer, and how many bytes left before the other side ended."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    client.writer.write(head)
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(15):
            while sent < total_bytes and not client.reader.at_eof():
                client.writer.write(piece)
                await client.writer.drain()
                sent += len(piece)
    answer = await client.answer()
    await client.close()
    return answer[0], sent


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
async def test_200_mb_are_refused_with_flat_memory():
    plain = b"POST /webhooks/meta HTTP/1.1\r\nhost: x\r\n"
    async with child() as (port, resident_bytes):
        piece = b" " * 65_536
        await pour(port, request(body_of()), b"", 0)
        before = resident_bytes()
        status, sent = await pour(port, plain + b"content-length: 209715200\r\n\r\n", piece, 200 * MIB)
        assert status in (413, 0)  # 0: the answer was lost to the reset of a connection that went on sending
        assert sent < 20 * MIB
        chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
        status, sent = await pour(port, plain + b"transfer-encoding: chunked\r\n\r\n", chunk, 200 * MIB)
        assert status in (413, 0)
        assert sent < 20 * MIB
        for header in (b"x-flood: 1\r\n" * 5000, b"x" * 65_536):  # many headers, then one without end
            status, sent = await pour(port, plain + b"x-long: ", header, 200 * MIB)
            assert status in (431, 0)
            assert sent < 20 * MIB
        assert resident_bytes() - before < 12 * MIB


async def raw(rig, text):
    return (await rig.exchange(text))[0]


async def test_a_head_of_64_kib_is_the_longest():
    async with listening() as rig:
        assert await raw(rig, request(body_of(), more=[("x-long", "a" * 60_000)])) == 200
        assert await raw(rig, request(body_of(), more=[("x-long", "a" * 66_000)])) == 431
        assert await raw(rig, request(body_of(), more=[(f"x-{n}", "a") for n in range(9000)])) == 431
        assert await raw(rig, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n") == 431
        assert await raw(rig, request(body_of().ljust(300_000))) == 200
        assert len(rig.recorded.appended) == 2


BODY = b"0\r\n\r\n"
SMUGGLED = [
    [b"content-length: 5", b"transfer-encoding: chunked"],
    [b"transfer-encoding: chunked", b"content-length: 5"],
    [b"content-length: 5", b"content-length: 6"],
    [b"content-length: +5"],
    [b"content-length: 5, 5"],
    [b"content-length: -1"],
    [b"content-length : 5"],
    [b"transfer-encoding: chunked, identity"],
    [b"transfer-encoding: xchunked"],
    [b"x: a", b" folded", b"content-length: 5", b"transfer-encoding: chunked"],
]


@pytest.mark.parametrize("headers", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_two_ideas_of_a_length_are_refused_and_end_the_connection(headers):
    async with listening() as rig:
        client = await rig.connect()
        head = b"\r\n".join([b"POST /webhooks/meta HTTP/1.1", b"host: x", *headers])
        client.writer.write(head + b"\r\n\r\n" + BODY + b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
        status, told, _ = await client.answer()
        assert (status, told.get("connection")) == (400, "close")
        assert await client.reader.read() == b""
        await client.close()
        assert rig.recorded.appended == []


@pytest.mark.parametrize(
    "chunks", [b"+5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"zz\r\n", b"5;" + b"\n" + b"hello"]
)
async def test_malformed_chunks_are_refused_in_silence(chunks, caplog):
    async with listening() as rig:
        with caplog.at_level(logging.INFO):
            head = b"POST /webhooks/meta HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            client = await rig.connect()
            client.writer.write(head + chunks)
            await client.closed()
            await client.close()
            assert await raw(rig, request(body_of())) == 200
        assert caplog.records == []
        assert len(rig.recorded.appended) == 1


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\n" * 9]
)
async def test_what_is_not_http_is_refused_in_silence(junk, caplog):
    async with listening(Limits(request_s=0.5)) as rig:
        with caplog.at_level(logging.INFO):
            client = await rig.connect()
            client.writer.write(junk)
            await client.closed()
            await client.close()
        assert caplog.records == []


@pytest.mark.parametrize("trickle", [b"", b"POST /webhooks/meta HT", request(body_of())[:60], request(body_of())[:-3]])
async def test_a_request_that_does_not_end_is_cut(trickle):
    async with listening(Limits(request_s=0.5)) as rig:
        client = await rig.connect()
        client.writer.write(trickle)
        started = time.monotonic()
        await client.closed()
        assert time.monotonic() - started < 3 or busy()
        await client.close()


async def test_a_trickle_of_bytes_buys_no_time():
    async with listening(Limits(request_s=1)) as rig:
        client = await rig.connect()
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in request(body_of()):
                client.writer.write(bytes([byte]))
                await client.writer.drain()
                if client.reader.at_eof():
                    break
                await asyncio.sleep(0.02)
        assert time.monotonic() - started < 4 or busy()
        await client.close()
        assert rig.recorded.appended == []


async def test_a_kept_connection_that_is_idle_is_closed_in_time_and_one_in_use_is_not():
    async with listening(Limits(request_s=5, idle_s=2)) as rig:
        client = await rig.connect()
        for _ in range(4):
            client.writer.write(request(body_of()))
            assert (await client.answer())[0] == 200
            await asyncio.sleep(0.6)
        await client.closed()
        await client.close()


async def test_over_the_limit_the_longest_idle_connection_goes():
    async with listening(Limits(connections_max=70)) as rig:
        idle = [await rig.connect() for _ in range(70)]
        for client in idle:
            client.writer.write(request(body_of()))
            assert (await client.answer())[0] == 200
        assert await raw(rig, request(body_of())) == 200
        await idle[0].closed()
        idle[-1].writer.write(request(body_of()))
        assert (await idle[-1].answer())[0] == 200
        for client in idle:
            await client.close()


async def test_500_slow_connections_do_not_hold_up_honest_traffic():
    async with listening() as rig:
        slow = [await rig.connect() for _ in range(500)]
        for number, client in enumerate(slow):
            client.writer.write(request(body_of())[: 20 + number % 100])
        honest = await rig.connect()
        took = []
        for _ in range(300):
            started = time.monotonic()
            honest.writer.write(request(body_of()))
            assert (await honest.answer())[0] == 200
            took.append(time.monotonic() - started)
        await honest.close()
        assert sorted(took)[296] < 0.25 or busy()
        for client in slow:
            client.writer.transport.abort()


async def test_pipelined_requests_are_answered_in_order():
    async with listening() as rig:
        client = await rig.connect()
        client.writer.write(request(body_of()) + request(body_of(), sign_with=b"wrong") + request(body_of()))
        assert [(await client.answer())[0] for _ in range(3)] == [200, 401, 200]
        await client.close()


async def test_expect_100_continue_is_answered_before_the_body():
    async with listening() as rig:
        head, _, body = request(body_of(), more=[("expect", "100-continue")]).partition(b"\r\n\r\n")
        client = await rig.connect()
        client.writer.write(head + b"\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        client.writer.write(body)
        assert (await client.answer())[0] == 200
        await client.close()
