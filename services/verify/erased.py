"""Who was erased, for `coexist verify`: Kafka keeps records of theirs until they age out, and nobody reads those."""

from collections.abc import Mapping

from schemas.marks import PRIVACY, Tombstone, barring, digest_of, marks, named, tombstone_key
from schemas.ports import Event
from services.shard import decode_state
from services.verify.books import Books


class Erased:
    """The tombstones of a shard. `key` is the installation's own."""

    def __init__(self, stones: Mapping[str, Tombstone], key: bytes) -> None:
        self._stones = stones
        self._key = key

    def __contains__(self, event: Event) -> bool:
        """Does the event name somebody or something that was erased?"""
        if not self._stones:
            return False
        about = named(event)
        keys = {mark: tombstone_key(digest_of(self._key, about.number, mark)) for mark in marks(about)}
        return (
            barring(about, {mark: self._stones[key] for mark, key in keys.items() if key in self._stones}) is not None
        )


async def erased_of(books: Books, shard: int) -> Erased:
    """Those of a shard. Raises LogUnavailable."""
    states = await books.states(PRIVACY, shard)
    stones = {key: decode_state(Tombstone, value) for key, value in states.items() if key.startswith(tombstone_key(""))}
    return Erased(stones, await books.installation_key())
