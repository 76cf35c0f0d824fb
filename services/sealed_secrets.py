"""Whether the keys at hand open every access token and relay's secret that is stored: looked at before a start.

A service that lacks such a key would run, and find out when it is to send: a command rejected for want of a token is
final. Where a key is lost for good, COEXIST_ENCRYPTION_KEY_LOST lets it start, so that what it sealed is given anew.
"""

import contextlib
from pathlib import Path
from typing import cast

import apsw

from schemas.ports import Store
from services import access_tokens, relay_registry
from services.content_seals import BUSY_MS, Seals, about_state
from services.relay_secrets import RelaySecrets
from services.relay_state import Relay
from services.sealing import CannotUnseal, Sealer, sealer_of
from services.settings import Settings, SettingsError
from services.shard import decode_state
from services.store_sqlite import SHARDS_MAX

PAGE_ROWS = 500
FIX = (
    "Put its key back into COEXIST_ENCRYPTION_KEYS, behind the first; if that is lost, start once with "
    "COEXIST_ENCRYPTION_KEY_LOST=1 and give the token or the secret anew."
)
STORED = """
SELECT processors.processor, states.slot - processors.number * ?1, states.key, states.value
FROM processors JOIN states ON states.slot >= processors.number * ?1 AND states.slot < (processors.number + 1) * ?1
WHERE processors.processor IN (?2, ?3)
"""


async def refuse_unopened(settings: Settings, store: Store) -> None:
    """Raises SettingsError where a stored token or secret is opened by none of the keys; LogUnavailable."""
    if settings.encryption_key_lost:
        return
    sealer = sealer_of(settings.encryption_keys)
    places = [(access_tokens.NAME, shard) for shard in range(settings.partitions)]
    try:
        for processor, shard in (*places, (relay_registry.NAME, relay_registry.SHARD)):
            after = ""
            while page := await store.scan(processor, shard, "", after, PAGE_ROWS):
                for key, value in page:
                    _look(sealer, processor, key, value)
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
            _look(sealer, processor, key, plain)
    except CannotUnseal as problem:
        raise _refusal(problem) from None


def _stored(path: Path) -> list[tuple[str, int, str, bytes]]:
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(BUSY_MS)
        if not connection.execute("SELECT name FROM sqlite_schema WHERE name = 'states'").fetchone():
            return []
        asked = (SHARDS_MAX, access_tokens.NAME, relay_registry.NAME)
        return cast("list[tuple[str, int, str, bytes]]", connection.execute(STORED, asked).fetchall())


def _look(sealer: Sealer, processor: str, key: str, value: bytes) -> None:
    if processor == access_tokens.NAME:
        access_tokens.opened(sealer, key, value)
    else:
        relay: Relay = decode_state(Relay, value)
        RelaySecrets(sealer).check(relay)


def _refusal(problem: CannotUnseal) -> SettingsError:
    return SettingsError(f"An access token or a relay's secret cannot be opened: {problem}. {FIX}")
