"""The topics, who writes them, how long they keep what they hold, and where a key lies.

Every topic has the same number of partitions, and a *shard* is partition i of all of them: so a business
number is one ordered shard with one owner, and identity, rate limits and the order of sends need no lock.
"""

from dataclasses import dataclass
from functools import lru_cache

INBOUND = "inbound"
HISTORY = "history"
TIMELINE = "timeline"
CONVERSATIONS = "conversations"
CONTACTS = "contacts"
ACCOUNT = "account"
OUTBOUND = "outbound"
OUTBOUND_BULK = "outbound-bulk"
SENDS = "sends"
DEAD_LETTERS = "dead-letters"
AUDIT = "audit"

PARTITIONS_DEFAULT = 12
DAY_S = 86_400
RECORD_BYTES_MAX = 8 * 1024 * 1024
"""Room for one webhook of 4 MiB whose raw bytes travel in base64."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic promises its readers.

    `sequenced`: every record carries a gapless `seq` per key, given in the writer's commit.
    `retention_s` is None where compaction, not age, removes records.
    """

    name: str
    writer: str
    holds: str
    sequenced: bool = False
    retention_s: int | None = 14 * DAY_S


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(INBOUND, "ingest, sender, media", "every live webhook item, and every attempt of ours, in one order"),
        Topic(HISTORY, "ingest", "history chunks and contact sync, in a lane of their own"),
        Topic(TIMELINE, "echo_sync.messages", "messages of every side and what became of them, once", True),
        Topic(CONVERSATIONS, "echo_sync.conversations", "the state of each conversation", False, None),
        Topic(CONTACTS, "echo_sync.messages", "contacts: changed, removed, merged, erased", True),
        Topic(ACCOUNT, "echo_sync.messages", "numbers, templates, preferences and their life cycle", True),
        Topic(OUTBOUND, "anyone", "send commands, cancellations, takeovers and releases"),
        Topic(OUTBOUND_BULK, "anyone", "send commands that must never delay a conversation"),
        Topic(SENDS, "sender.delivery", "what became of each command", True),
        Topic(DEAD_LETTERS, "any role", "what could not be handled, raw, with the reason", False, 30 * DAY_S),
        Topic(AUDIT, "any role", "who did what to whose data, without content", False, 3 * 365 * DAY_S),
    )
}

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Kafka's default partitioner hash (the 32-bit MurmurHash2 of the Java client), as an unsigned integer."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    tail = data[length - length % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=8_192)
def partition_of(key: str, partitions: int) -> int:
    """The partition on which `key` lies: murmur2 modulo the number of partitions, as Kafka's clients do it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
