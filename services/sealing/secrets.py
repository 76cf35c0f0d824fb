"""The states in which a secret is sealed for itself, of each kind: access tokens, and relays.

Before a start it is looked whether the keys at hand open every one; `coexist reseal` seals each under the first key. A
service that lacks such a key would run, and find out when it is to send: a command rejected for want of a token is
final. Where a key is lost for good, COEXIST_ENCRYPTION_KEY_LOST lets it start, so that what it sealed is given anew.
"""

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import apsw
import msgspec

from schemas.ports import Store
from services import access_tokens
from services.relays import registry as relay_registry
from services.relays.secrets import RelaySecrets
from services.relays.state import Relay
from services.sealing.content import BUSY_MS, Seals, about_state
from services.sealing.keys import CannotUnseal, Sealer, sealer_of
from services.settings import Settings, SettingsError
from services.shard import decode_state
from services.sqlite.store import SHARDS_MAX

PAGE_ROWS = 500
FIX = (
    "Put its key back into COEXIST_ENCRYPTION_KEYS, behind the first; if that is lost, start once with "
    "COEXIST_ENCRYPTION_KEY_LOST=1 and give the token or the secret anew."
)
STORED = """
SELECT processors.processor, states.slot - processors.number * ?1, states.key, states.value
FROM processors JOIN states ON states.slot >= processors.number * ?1 AND states.slot < (processors.number + 1) * ?1
WHERE processors.processor IN (SELECT value FROM json_each(?2))
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """States of one processor, each with a secret sealed for itself.

    `shards`: where they lie, given the number of partitions. `check` raises CannotUnseal where no key opens the secret
    of a state; `anew` is the state with its secret under the first key, as it is where that cannot be.
    """

    shards: Callable[[int], Iterable[int]]
    check: Callable[[Sealer, str, bytes], object]
    anew: Callable[[Sealer, str, bytes], bytes]


def _check_relay(sealer: Sealer, _: str, value: bytes) -> None:
    RelaySecrets(sealer).check(decode_state(Relay, value))


def _relay_anew(sealer: Sealer, _: str, value: bytes) -> bytes:
    relay, secrets = decode_state(Relay, value), RelaySecrets(sealer)
    return value if secrets.is_current(relay) else msgspec.msgpack.encode(secrets.sealed(secrets.opened(relay)))


KINDS = {
    access_tokens.NAME: Kind(range, access_tokens.opened, access_tokens.sealed_anew),
    relay_registry.NAME: Kind(lambda _: (relay_registry.SHARD,), _check_relay, _relay_anew),
}
"""By the processor that owns them."""


def sealed_anew(sealer: Sealer, processor: str, key: str, value: bytes) -> bytes:
    """A state in which a secret is sealed for itself, with that under the first key; any other as it is."""
    kind = KINDS.get(processor)
    return value if kind is None else kind.anew(sealer, key, value)


async def refuse_unopened(settings: Settings, store: Store) -> None:
    """Raises SettingsError where a stored token or secret is opened by none of the keys; LogUnavailable."""
    if settings.encryption_key_lost:
        return
    sealer = sealer_of(settings.encryption_keys)
    places = [(processor, shard) for processor, kind in KINDS.items() for shard in kind.shards(settings.partitions)]
    try:
        for processor, shard in places:
            after = ""
            while page := await store.scan(processor, shard, "", after, PAGE_ROWS):
                for key, value in page:
                    KINDS[processor].check(sealer, key, value)
                after = page[-1][0]
    except CannotUnseal as problem:
        raise _refusal(problem) from None


def refuse_unopened_in(settings: Settings, seals: Seals | None, path: Path) -> None:
    """The same for a data folder's file that is there, before it is opened. Raises SettingsError, or apsw.Error."""
    if settings.encryption_key_lost:
        return
    sealer = sealer_of(settings.encryption_keys)
    try:
        for processor, shard, key, value in _stored(path):
            plain = value if seals is None else seals.open(value, about_state(processor, shard, key))
            KINDS[processor].check(sealer, key, plain)
    except CannotUnseal as problem:
        raise _refusal(problem) from None


def _stored(path: Path) -> list[tuple[str, int, str, bytes]]:
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(BUSY_MS)
        if not connection.execute("SELECT name FROM sqlite_schema WHERE name = 'states'").fetchone():
            return []
        asked = (SHARDS_MAX, json.dumps(list(KINDS)))
        return cast("list[tuple[str, int, str, bytes]]", connection.execute(STORED, asked).fetchall())


def _refusal(problem: CannotUnseal) -> SettingsError:
    return SettingsError(f"An access token or a relay's secret cannot be opened: {problem}. {FIX}")
