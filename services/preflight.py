"""`coexist run --check`: what would keep the service from starting, all of it at once, with what to do about it.

It leaves nothing behind: a folder that it had to make to see whether it can be made is removed again.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from schemas.ports import LogUnavailable
from schemas.states import MESSAGES, number_key
from services import access_tokens
from services.edge import CannotListen, listen
from services.edition import FILE_NAME
from services.extras import CLUSTER, install
from services.privacy.ledger import writable
from services.sealing.content import holds_plain, seals_for, seals_of
from services.sealing.keys import sealer_of
from services.sealing.secrets import refuse_unopened_in
from services.settings import Settings, SettingsError, guarded, secrets, short_secrets
from services.sqlite.file import owner_of
from services.sqlite.log import PartitionsChanged, partitions_of
from services.sqlite.store import SHARDS_MAX
from services.telemetry.tracing import is_wanted

SQLITE_MIN = (3, 51, 3)
"""Before it two connections can corrupt a write-ahead log when they checkpoint at once."""
DISK_FREE_BYTES_MIN = 1 << 30
"""Room for some days of webhooks of a busy business; below it, make room or move the data folder."""
OWNER = "owner of the data folder"
REACH_S = 5.0
"""What a broker or a database gets to answer."""

KEYS = """
WITH RECURSIVE shards(shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM shards WHERE shard + 1 < ?1)
SELECT states.key FROM processors CROSS JOIN shards CROSS JOIN states ON states.slot = processors.number * ?2 + shard
WHERE processors.processor = ?3 AND states.key BETWEEN ?4 AND ?5
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is well (None: not looked at, or worth a thought), what was seen, and the fix."""

    what: str
    ok: bool | None
    says: str = ""
    fix: str = ""


async def examine(settings: Settings, roles: Sequence[str]) -> AsyncIterator[Finding]:
    """Everything that `coexist run` with these roles needs before it can start."""
    if "ingest" in roles:
        yield _secrets(settings)
        yield _verify_token(settings)
    yield _admin_token(settings)
    for finding in (*encryption_keys(settings), *machine(settings.data_dir), *_ledger(settings)):
        yield finding
    if settings.kafka_bootstrap_servers or settings.database_url is not None:
        async for finding in _cluster(settings):
            yield finding
    else:
        yield _owner(settings.data_dir)
        yield _file(settings)
    if not {"sender", "media"}.isdisjoint(roles):
        for finding in _access_tokens(settings):
            yield finding
    for finding in (*_traces(), *_ports(settings, roles)):
        yield finding


def encryption_keys(settings: Settings) -> Iterator[Finding]:
    """The keys for secrets and content at rest, where some are given or needed."""
    path, keys = settings.data_dir / FILE_NAME, settings.encryption_keys
    try:
        sealer_of(keys)
        seals = seals_for(settings, path) if path.exists() else seals_of(settings, {})
        if path.exists():
            refuse_unopened_in(settings, seals, path)
    except SettingsError as problem:
        yield Finding("encryption keys", ok=False, says="cannot be used" if keys else "not set", fix=str(problem))
    except apsw.Error:
        return  # told of the file itself
    else:
        if keys:
            sealing = seals is not None and seals.wanted
            yield Finding("encryption keys", ok=True, says=f"{len(keys)} set{_content(path) if sealing else ''}")


def _content(path: Path) -> str:
    try:
        plain = path.exists() and holds_plain(path)
    except apsw.Error:
        return ", content is sealed from now on"  # what is wrong with it is told of the file itself
    if plain:
        return ", content is sealed from now on; what was written before stays plain until `coexist reseal`"
    return ", content is sealed"


def machine(folder: Path) -> Iterator[Finding]:
    """The data folder, the disk that it is on, and the SQLite library."""
    fix = f"Make {folder} a folder that this user may write, on a local disk, or set COEXIST_DATA_DIR."
    try:
        with _made(folder):
            with tempfile.TemporaryFile(dir=folder):
                pass
            for file in folder.glob(f"{FILE_NAME}*"):
                file.open("r+b").close()
            free = shutil.disk_usage(folder).free
    except OSError as problem:
        yield Finding("data folder", ok=False, says=(problem.strerror or type(problem).__name__).lower(), fix=fix)
        return
    yield Finding("data folder", ok=True, says="can be written")
    fix = f"Make room where {folder} lies: below 1 GiB the service stops acknowledging before it is full."
    yield Finding("disk", free >= DISK_FREE_BYTES_MIN, f"{free / 2**30:.1f} GiB free", fix)
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    yield Finding("SQLite", version >= SQLITE_MIN, apsw.sqlite_lib_version(), "Install apsw 3.51.3 or newer.")


def _ledger(settings: Settings) -> Iterator[Finding]:
    try:
        with _made(settings.data_dir):
            writable(settings)
    except SettingsError as problem:
        yield Finding("erasure ledger", ok=False, says="cannot be written", fix=str(problem))
    except OSError:
        return  # told of the folder itself
    else:
        yield Finding("erasure ledger", ok=True, says="can be written")


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder exists inside the block, and after it if it did before."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in missing:
            path.rmdir()


def _secrets(settings: Settings) -> Finding:
    try:
        count = len(secrets(settings))
    except SettingsError as problem:
        return Finding("app secret", ok=False, says="not set", fix=str(problem))
    short = short_secrets(settings)
    return Finding("app secret", None if short else True, short or f"{count} set")


def _verify_token(settings: Settings) -> Finding:
    if settings.meta_verify_token is not None:
        return Finding("verify token", ok=True, says="set")
    says = "not set: webhooks are taken, and Meta's handshake is refused until COEXIST_META_VERIFY_TOKEN is set"
    return Finding("verify token", ok=None, says=says)


def _access_tokens(settings: Settings) -> Iterator[Finding]:
    """For how many of the known numbers there is an access token: the installation's, or their own."""
    path, default = settings.data_dir / FILE_NAME, settings.meta_access_token is not None
    embedded = not settings.kafka_bootstrap_servers and settings.database_url is None
    try:
        known, own = _numbers_in(path) if embedded and path.exists() else (set[str](), set[str]())
    except apsw.Error:
        return  # told of the file itself
    without = set() if default else known - own
    given = f"for {len(known) - len(without)} of {len(known)} known numbers"
    if default:
        yield Finding("access tokens", ok=True, says=f"{given}, {len(known & own)} with their own" if known else "set")
    elif known and not without:
        yield Finding("access tokens", ok=True, says=f"{given}, each with its own")
    else:
        mend = f"`coexist numbers add {min(without, default='NUMBER')} --token-file FILE`, or COEXIST_META_ACCESS_TOKEN"
        says = f"{given if known else 'not set'}; what a number without one sends is rejected (no_token): {mend}"
        yield Finding("access tokens", ok=None, says=says)


def _numbers_in(path: Path) -> tuple[set[str], set[str]]:
    """The numbers in a data folder's file, and those with a token of their own. Raises apsw.Error."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        partitions = partitions_of(connection) or 0

        def keyed(processor: str, prefix: str) -> set[str]:
            asked = (partitions, SHARDS_MAX, processor, prefix, f"{prefix}￿")
            return {key.removeprefix(prefix) for (key,) in connection.execute(KEYS, asked)}

        return keyed(MESSAGES, number_key("")), keyed(access_tokens.NAME, access_tokens.key_of(""))


def _admin_token(settings: Settings) -> Finding:
    try:
        guarded(settings)
    except SettingsError as problem:
        return Finding("admin token", ok=False, says="not set", fix=str(problem))
    return Finding("admin token", ok=True, says="set" if settings.admin_token else "not needed on loopback")


def _owner(folder: Path) -> Finding:
    owner = owner_of(folder)
    fix = "One process owns an embedded data folder: stop that one, or set COEXIST_DATA_DIR to another folder."
    return Finding(OWNER, not owner, f"process {owner}" if owner else "nobody", fix)


def _file(settings: Settings) -> Finding:
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        return Finding("data file", ok=True, says="will be made")
    try:
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            made_with = partitions_of(connection)
    except apsw.Error as problem:
        fix = "Restore the folder from a backup, or set COEXIST_DATA_DIR to an empty one."
        return Finding("data file", ok=False, says=f"cannot be read: {type(problem).__name__}", fix=fix)
    if made_with is None or made_with == settings.partitions:
        return Finding("data file", ok=True, says=f"{settings.partitions} partitions")
    fix = str(PartitionsChanged(made_with, settings.partitions))
    return Finding("data file", ok=False, says=f"made with {made_with} partitions", fix=fix)


def _traces() -> Iterator[Finding]:
    """The collector, where the environment names one."""
    try:
        if is_wanted(os.environ):
            yield Finding("collector of traces", ok=True, says="is named")
    except SettingsError as problem:
        yield Finding("collector of traces", ok=False, says="cannot be used", fix=str(problem))


def _ports(settings: Settings, roles: Sequence[str]) -> Iterator[Finding]:
    """Both ports, held at the same time, so that one port for both is found, too."""
    wanted = [("admin port", "COEXIST_ADMIN_PORT", settings.admin_host, settings.admin_port)]
    if "ingest" in roles:
        wanted.append(("public port", "COEXIST_PORT", settings.host, settings.port))
    with contextlib.ExitStack() as held:
        for what, name, host, port in wanted:
            try:
                held.enter_context(contextlib.closing(listen(host, port)))
            except CannotListen as problem:
                yield Finding(what, ok=False, says=f"{host}:{port}", fix=f"{problem} ({name})")
            else:
                yield Finding(what, ok=True, says=f"{host}:{port} is free" if port else "any free one")


async def _cluster(settings: Settings) -> AsyncIterator[Finding]:
    kafka, database = settings.kafka_bootstrap_servers, settings.database_url
    url = database.get_secret_value() if database is not None else ""
    if not kafka or not url.startswith(("postgresql://", "postgres://")):
        fix = "The cluster needs COEXIST_KAFKA_BOOTSTRAP_SERVERS and COEXIST_DATABASE_URL=postgresql://…; set both."
        yield Finding("cluster edition", ok=False, says="half of it is set", fix=fix)
        return
    try:
        yield await _kafka(settings)
        yield await _postgres(url)
    except ModuleNotFoundError as problem:
        fix = install(CLUSTER)
        yield Finding("cluster edition", ok=False, says=f"{problem.name} is not installed", fix=fix)


async def _kafka(settings: Settings) -> Finding:
    from services.kafka import topics as kafka_topics  # noqa: PLC0415 - needs the extra kafka
    from services.kafka.client import kafka_of  # noqa: PLC0415 - see above

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # we say once what it would repeat
    try:
        async with asyncio.timeout(REACH_S):
            wrong = await kafka_topics.problems(kafka_of(settings), settings.partitions)
    except (LogUnavailable, TimeoutError, OSError) as problem:
        fix = "COEXIST_KAFKA_BOOTSTRAP_SERVERS must name brokers that can be reached from here, as this user."
        return Finding("Kafka", ok=False, says=str(problem) or f"no answer in {REACH_S:g} s", fix=fix)
    return Finding("Kafka", not wrong, "topics need care" if wrong else "answers", " ".join(wrong))


async def _postgres(url: str) -> Finding:
    from services.postgres.pool import reach  # noqa: PLC0415 - needs the extra postgres

    try:
        async with asyncio.timeout(REACH_S):
            await reach(url)
    except (LogUnavailable, TimeoutError) as problem:
        fix = "COEXIST_DATABASE_URL must be postgresql://user:password@host/name, reachable from here."
        return Finding("Postgres", ok=False, says=str(problem) or f"no answer in {REACH_S:g} s", fix=fix)
    return Finding("Postgres", ok=True, says="answers")
