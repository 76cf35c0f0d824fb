"""Access tokens: one of the installation, and for whoever serves many businesses one per number, sealed in the store.

A number's own token goes before the installation's. What is kept is a state under the number, written under a lease as
the letters of the console are, and re-sealed when it is read under a key that is no longer the first.
"""

from collections.abc import Callable

import structlog

from schemas.ports import Commit, Fenced, LogUnavailable, Row, Store
from schemas.topics import partition_of
from services.sealing.keys import CannotUnseal, Sealer

NAME = "services.access_tokens"
"""The owner of these states, as a processor is."""
LEASE_S = 10.0
CACHE_S = 5.0
"""A token that another process set is used after this time at the latest."""
CACHED_MAX = 20_000

log = structlog.get_logger()


class Busy(Exception):
    """Another process is writing, or the store does not answer: try it again in a moment."""


class AccessTokens:
    """The tokens of the numbers. `default` is the installation's own, used where a number has none."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        default: str | None,
        partitions: int,
        owner: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._default = default
        self._partitions = partitions
        self._owner = owner
        self._clock = clock
        self._cached: dict[str, tuple[float, str | None]] = {}

    async def of(self, number: str) -> str | None:
        """The token to use for a number: its own, else the installation's; None where there is none to be used.

        A number whose own token no key opens has none: the installation's may be another business's.
        """
        own = await self.own(number)
        if own is None and self._default is None:
            self.forget(number)  # nothing can be sent without one, and another process may be about to set it
        return self._default if own is None else own or None

    async def own(self, number: str) -> str | None:
        """The number's own token; None where it has none, empty where it has one that no key opens."""
        until, token = self._cached.get(number, (0.0, None))
        if until > self._clock():
            return token
        token = await self._load(number)
        self._remember(number, token)
        return token

    def forget(self, number: str) -> None:
        """Read it anew the next time: Meta refused it."""
        self._cached.pop(number, None)

    async def keep(self, number: str, token: str) -> None:
        """Seal and keep a number's token. Raises CannotSeal without a key, and Busy."""
        await self._write(number, Row(self._sealer.seal(token.encode(), _about(number))))
        self._remember(number, token)

    async def drop(self, number: str) -> None:
        """Take a number's own token away. Raises Busy."""
        await self._write(number, None)
        self._remember(number, None)

    async def _load(self, number: str) -> str | None:
        key, shard = key_of(number), partition_of(number, self._partitions)
        envelope = (await self._store.load(NAME, shard, [key])).get(key)
        if envelope is None:
            return None
        try:
            token = self._sealer.unseal(envelope, _about(number)).decode()
        except CannotUnseal as problem:
            log.warning("token_sealed", reason=str(problem), fix="put its key back into COEXIST_ENCRYPTION_KEYS")
            return ""
        if not self._sealer.is_current(envelope):
            await self._seal_anew(number, token)
        return token

    async def _seal_anew(self, number: str, token: str) -> None:
        try:
            await self.keep(number, token)
        except Busy:
            log.info("token_not_sealed_anew", reason="tried again when it is next read")

    async def _write(self, number: str, row: Row | None) -> None:
        shard = partition_of(number, self._partitions)
        try:
            lease = await self._store.acquire(NAME, shard, self._owner, LEASE_S)
            if lease is None:
                raise Busy
            await self._store.commit(Commit(lease, rows={key_of(number): row}))
            await self._store.release(lease)
        except (Fenced, LogUnavailable):
            raise Busy from None

    def _remember(self, number: str, token: str | None) -> None:
        if len(self._cached) >= CACHED_MAX:
            self._cached.clear()
        self._cached[number] = self._clock() + CACHE_S, token


def opened(sealer: Sealer, key: str, envelope: bytes) -> str:
    """The token in a stored envelope. Raises CannotUnseal."""
    return sealer.unseal(envelope, _about(key.removeprefix("a/"))).decode()


def sealed_anew(sealer: Sealer, key: str, envelope: bytes) -> bytes:
    """The envelope of a stored token under the first key; as it is where that cannot be."""
    about = _about(key.removeprefix("a/"))
    try:
        return envelope if sealer.is_current(envelope) else sealer.seal(sealer.unseal(envelope, about), about)
    except CannotUnseal:
        return envelope


def key_of(number: str) -> str:
    """Where a number's own token is kept."""
    return f"a/{number}"


def _about(number: str) -> str:
    return f"access token of {number}"
