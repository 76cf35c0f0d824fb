"""The fence at the socket: a producer's request is written only while what it carries is certainly ours.

A process may be stopped at any instant and go on when its shards are another's. So the last look is where the bytes go
to the socket, and what the kernel could not send by then is thrown away with the connection.
"""

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest

LENGTH_BYTES, PRODUCE = 4, b"\0\0"
"""A request begins with its length and the key of its kind."""
HELD_BACK = "held back: what it carries may be another owner's by now"
LINGER_NOT = struct.pack("ii", 1, 0)
"""For a socket: what was not sent when it is closed, or its process dies, is thrown away, not tried for minutes."""


def guard(producer: AIOKafkaProducer, may_write: Callable[[], bool]) -> None:
    """Ask `may_write` once a connection is there and again as a produce request's bytes are handed to its socket.

    Between the two lies the encoding: a process that is stopped in it must not write when it goes on.
    """
    client = producer.client
    plain_send = client.send

    async def send(node: Any, request: Any, **group: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await client.ready(node, **group)
            for writer in writers(client):
                _throw_away_at_close(writer)
                _watch(writer, may_write)
            if not may_write():
                raise KafkaError(HELD_BACK)
        return await plain_send(node, request, **group)

    client.send = send


def _throw_away_at_close(writer: Any) -> None:
    """Let the kernel forget unsent bytes with the socket: a batch that comes minutes later would be a zombie's."""
    if (connection := writer.transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)


def _watch(writer: Any, may_write: Callable[[], bool]) -> None:
    """Let no produce request onto the socket when it may not be written; the connection ends then."""
    if "write" in vars(writer):
        return
    plain_write = writer.write

    def write(data: bytes) -> None:
        if data[LENGTH_BYTES : LENGTH_BYTES + len(PRODUCE)] == PRODUCE and not may_write():
            raise OSError(HELD_BACK)
        plain_write(data)

    writer.write = write


def writers(client: Any) -> list[Any]:
    """The streams of a client's connections."""
    found = [connection._writer for connection in client._conns.values()]  # noqa: SLF001 - it has no way of its own
    return [writer for writer in found if writer is not None]
