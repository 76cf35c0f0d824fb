"""The newest live messages that a conversation received: sixteen bytes for each, in order.

A conversation's state is written with each of its messages, and a hundred of them as objects would cost more than all
the rest. Eight bytes are the instant, eight the fingerprint of the message's id; as both are big-endian and no instant
is negative, the order of the bytes is the order of time.
"""

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct

RECEIVED_MAX = 100
"""How many are kept, and so the highest count of what is unread."""

_INSTANT = Struct(">d")
_INSTANT_BYTES = _INSTANT.size
_BYTES = 2 * _INSTANT_BYTES


def with_message(received: bytes, at: float, message_id: str) -> bytes:
    """The messages with one more, or with another instant for one that is known."""
    mark = _mark(message_id)
    known = _place(received, mark)
    if known >= 0:
        received = received[:known] + received[known + _BYTES :]
    new = _INSTANT.pack(at) + mark
    if new >= received[-_BYTES:]:  # nearly all
        return (received + new)[-RECEIVED_MAX * _BYTES :]
    return _ordered([*_each(received), new])


def united(one: bytes, other: bytes) -> bytes:
    """The messages of two conversations that turned out to be one."""
    return _ordered([*_each(one), *_each(other)])


def newest_at(received: bytes) -> float:
    """When the newest came, 0 where there is none."""
    return _at(received, len(received) - _BYTES) if received else 0.0


def count_after(received: bytes, at: float) -> int:
    """How many came after an instant."""
    low, high = 0, len(received) // _BYTES
    while low < high:
        middle = (low + high) // 2
        if _at(received, middle * _BYTES) > at:
            high = middle
        else:
            low = middle + 1
    return len(received) // _BYTES - low


def _mark(message_id: str) -> bytes:
    return blake2b(message_id.encode(), digest_size=_BYTES - _INSTANT_BYTES).digest()


def _at(received: bytes, place: int) -> float:
    found: float = _INSTANT.unpack_from(received, place)[0]
    return found


def _place(received: bytes, mark: bytes) -> int:
    """Where the message with this fingerprint begins, -1 for nowhere."""
    found = received.find(mark)
    while found >= 0 and found % _BYTES != _INSTANT_BYTES:
        found = received.find(mark, found + 1)
    return found - _INSTANT_BYTES if found >= 0 else -1


def _each(received: bytes) -> Iterator[bytes]:
    return (received[place : place + _BYTES] for place in range(0, len(received), _BYTES))


def _ordered(messages: list[bytes]) -> bytes:
    return b"".join(sorted(messages)[-RECEIVED_MAX:])
