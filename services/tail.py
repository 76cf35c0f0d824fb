"""`coexist tail`: the events of a topic, from Kafka, or from the embedded file without writing to it."""

import contextlib
import difflib
import re
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import apsw
import click
import orjson
from msgspec.structs import replace

from schemas.cloudevents import UNREADABLE, cloudevent, timed
from schemas.instants import rfc3339
from schemas.ports import LogUnavailable, Record
from schemas.topics import TOPICS
from services.commands.admin_client import unreachable
from services.commands.failure import USAGE, Failure
from services.edition import FILE_NAME
from services.extras import KAFKA, install
from services.sealing.content import marks_in, seals_of
from services.sealing.keys import CannotUnseal
from services.settings import Settings, SettingsError
from services.sqlite.file import owner_of
from services.sqlite.log import LogFile, partitions_of

LOOK_EVERY_S = 0.05
BATCH_RECORDS = 500

Found = Generator[Record, None, bool]
"""Records of one file, and at last whether a service works on another one in its place."""

_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u([0-9a-fA-F]{4})|.)",
    re.DOTALL,
)
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, further ends of lines, what turns the direction of text, and halves of characters."""


def tail(
    settings: Settings, topic: str, *, from_start: bool, follow: bool, as_json: bool, number: str, kind: str
) -> Iterator[str]:
    """Lines of a topic, in order within a partition. Raises click errors for what cannot be read."""
    name = topic.removeprefix(f"{settings.topic_prefix}.")
    if name not in TOPICS:
        raise click.UsageError(f"{topic} is not a topic. There are: {', '.join(TOPICS)}.")
    look = _on_kafka if settings.kafka_bootstrap_servers else _in_file
    for record in look(settings, name, from_start=from_start, follow=follow):
        if (not number or record.event.number == number) and (not kind or record.event.type == kind):
            yield _line(record, as_json=as_json)


def doubt(settings: Settings, topic: str, kind: str) -> str:
    """What is odd about looking for this type on this topic; empty where the topic carries it."""
    from schemas.events import ON  # noqa: PLC0415 - pydantic is slow to import, and most look for no type

    here = ON.get(topic.removeprefix(f"{settings.topic_prefix}."), ())
    if not here or kind in (*here, UNREADABLE):
        return ""
    if elsewhere := [name for name, types in ON.items() if kind in types]:
        return f"{kind} is not on {topic}, but on {' and '.join(elsewhere)}."
    near = difflib.get_close_matches(kind, here, 3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(sorted(here))}."
    return f"{kind} is no type that this version knows on {topic}. {hint}"


def is_at_rest(settings: Settings) -> bool:
    """Whether this is an embedded edition that nobody runs: nothing new will come."""
    return not settings.kafka_bootstrap_servers and not owner_of(settings.data_dir)


def _on_kafka(settings: Settings, name: str, *, from_start: bool, follow: bool) -> Iterator[Record]:
    try:
        from services.kafka.client import kafka_of  # noqa: PLC0415 - needs the extra kafka
        from services.kafka.tail import records  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        raise Failure(f"{problem.name} is not installed. {install(KAFKA)}", USAGE) from None
    try:
        yield from records(kafka_of(settings), name, from_start=from_start, follow=follow)
    except LogUnavailable as problem:
        raise unreachable(f"{problem}. It was asked at {settings.kafka_bootstrap_servers}.") from None


def _in_file(settings: Settings, name: str, *, from_start: bool, follow: bool) -> Iterator[Record]:
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        raise unreachable(f"{path} does not exist. Start `coexist run` first, or set COEXIST_DATA_DIR.")
    try:
        while (yield from _records(settings, path, name, from_start=from_start, follow=follow)):
            click.echo("Another file lies there now, as after a restore. This is what it has:", err=True)
            from_start = True
    except (SettingsError, CannotUnseal) as problem:
        raise Failure(str(problem), USAGE) from None
    except apsw.Error as problem:
        sentence = f"{path} cannot be read: {type(problem).__name__}. Is COEXIST_DATA_DIR the folder of `coexist run`?"
        raise Failure(sentence) from None


def _records(settings: Settings, path: Path, name: str, *, from_start: bool, follow: bool) -> Found:
    file = _file_at(path)
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(2_000)
        partitions = partitions_of(connection)
        if partitions is None:
            return False
        rows = LogFile(connection, partitions, seals_of(settings, marks_in(connection)))
        positions = [rows.end(name, one) if follow and not from_start else 0 for one in range(partitions)]
        while True:
            records = _next(rows, name, positions)
            yield from records
            if not records:
                if not follow:
                    return False
                if _file_at(path) not in (file, None) and owner_of(settings.data_dir):
                    return True
                time.sleep(LOOK_EVERY_S)


def _file_at(path: Path) -> int | None:
    """Which file lies there; None while none does."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _next(file: LogFile, topic: str, positions: list[int]) -> list[Record]:
    found: list[Record] = []
    for partition, position in enumerate(positions):
        records = file.read(topic, partition, position, BATCH_RECORDS)
        if records:
            positions[partition] = records[-1].offset + 1
            found.extend(records)
    return sorted(found, key=lambda record: record.appended_at)


def _line(record: Record, *, as_json: bool) -> str:
    if as_json and record.event.type == UNREADABLE:
        record = replace(record, event=replace(record.event, data=orjson.dumps(_text(record))))
    if as_json:
        return orjson.dumps(cloudevent(record)).decode()
    event = timed(record)
    seq = f" #{event.seq}" if event.seq else ""
    place = f"{rfc3339(event.at)} {record.partition}/{record.offset}{seq}"
    return legible(f"{place} {event.type} {event.number} {_text(record)}")


def legible(text: str) -> str:
    """JSON for people: what was escaped stands as it is, and what would move a terminal's cursor, or text, is escaped.

    It stays the same JSON.
    """
    return _UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", _ESCAPE.sub(_spoken, text))


def _spoken(escape: re.Match[str]) -> str:
    """The character that an escape means, unless it must stay one."""
    units = "".join(group or "" for group in escape.groups())
    if not units:
        return escape[0]
    character = bytes.fromhex(units).decode("utf-16-be", errors="surrogatepass")
    return escape[0] if character in '"\\' or _UNFIT.match(character) else character


def _text(record: Record) -> str:
    return (record.event.data or b"null").decode(errors="replace")
