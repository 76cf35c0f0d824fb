"""Everything that is held about one person at one number: states of every processor, records, media, as one archive.

What counts as theirs is decided by what an erasure would take, so the two cannot differ: identities lead to
conversations, those to messages and commands, and the walk is repeated until it brings nothing new to light.
"""

import hashlib
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec
import orjson

from echo_sync.message import Message
from schemas.cloudevents import cloudevent
from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.marks import About, Tombstone, barring, marks, named, phone, users
from schemas.ports import Record, State, Unreadable
from schemas.topics import TOPICS, partition_of
from services.media.store import MediaStore
from services.privacy.bars import PAGE
from services.privacy.erasing import own_identities, person_of
from services.privacy.sweep import told_as
from services.running import App
from services.shard import decode_state

WALKS_MAX = 8
"""Identities lead to conversations, those to messages, and merged ones once more; further walks find nothing."""
FOREVER = float("inf")


@dataclass(slots=True)
class Held:
    """What is held about a person: states by (processor, key), and records in order."""

    number: str
    states: dict[tuple[str, str], State] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    refs: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """How many states of each kind, and how many records and media."""
        found = Counter(told_as(state) for state in self.states.values())
        return dict(sorted(found.items())) | {"records": len(self.records), "media": len(self.refs)}


async def held(app: App, number: str, contact: Contact) -> Held:
    """Find it all."""
    known = dict.fromkeys((mark for mark in (*users(contact), phone(contact)) if mark), Tombstone(at=FOREVER))
    person = await person_of(app, number, contact)
    if person is not None:
        own = await own_identities(app, person)
        by_user = any(identity.startswith("u:") for identity in own)
        known |= dict.fromkeys(own, Tombstone(at=FOREVER, by_user=by_user))
        known[f"c:{person.conversation_id}"] = Tombstone()
    found = Held(number)
    for _ in range(WALKS_MAX):
        before = len(known)
        await _walk(app, found, known)
        if len(known) == before:
            break
    await _read(app, found, known)
    return found


async def _walk(app: App, found: Held, known: dict[str, Tombstone]) -> None:
    shard = partition_of(found.number, app.log.partitions)
    for name, runner in app.runners.items():
        after = ""
        while page := await app.store.scan(name, shard, "", after, PAGE):
            for key, value in page:
                state = decode_state(runner.processor.state_type(key), value)
                about = runner.processor.about(key, state)
                if is_of(about, found.number, known):
                    found.states[name, key] = state
                    found.refs.update(about.refs)
                    if not about.shared:
                        known |= {mark: Tombstone(at=FOREVER) for mark in marks(about) if mark not in known}
            after = page[-1][0]


async def _read(app: App, found: Held, known: dict[str, Tombstone]) -> None:
    for topic in TOPICS:
        for partition in range(app.log.partitions):
            offset = 0
            while records := await app.log.read(topic, partition, offset, PAGE):
                found.records += [one for one in records if is_of(named(one.event), found.number, known)]
                offset = records[-1].offset + 1


def is_of(about: About, number: str, known: dict[str, Tombstone]) -> bool:
    """Does it name the person, at this number?"""
    if about.number not in (number, "unknown"):
        return False
    return barring(about, {mark: known[mark] for mark in marks(about) if mark in known}) is not None


# --- the archive


async def archive(app: App, found: Held) -> IO[bytes]:
    """A zip file that nobody else can open, at its start: JSON Lines, media and a manifest of hashes.

    Media that is there and cannot be read, for want of its key or of a whole disk, is named in the manifest instead.
    """
    file = tempfile.TemporaryFile(dir=app.settings.data_dir)  # noqa: SIM115 - whoever streams it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        files = {
            "messages.jsonl": _put(out, "messages.jsonl", _messages(found)),
            "states.jsonl": _put(out, "states.jsonl", _states(found)),
            "records.jsonl": _put(out, "records.jsonl", (cloudevent(record) for record in found.records)),
        }
        unreadable: list[str] = []
        for ref in sorted(found.refs):
            try:
                files[f"media/{ref}"] = await _put_media(app, out, ref)
            except Unreadable:
                unreadable.append(f"media/{ref}")
        about = {
            "number": found.number,
            "made_at": rfc3339(app.clock()),
            "held": found.counts(),
            "files": files,
            "unreadable": unreadable,
        }
        out.writestr("manifest.json", orjson.dumps(about, option=orjson.OPT_INDENT_2))
    file.seek(0)
    return file


def _put(out: zipfile.ZipFile, name: str, lines: Iterable[Any]) -> dict[str, Any]:
    digest, size, count = hashlib.sha256(), 0, 0
    with out.open(name, "w") as file:
        for line in lines:
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
            file.write(text)
            digest.update(text)
            size, count = size + len(text), count + 1
    return {"sha256": digest.hexdigest(), "bytes": size, "lines": count}


async def _put_media(app: App, out: zipfile.ZipFile, ref: str) -> dict[str, Any]:
    """Raises Unreadable; then nothing of it stands in the archive, for it is read to its end first."""
    digest, size = hashlib.sha256(), 0
    if app.purging is None or app.purging.media is None:
        return {"missing": True}
    with tempfile.TemporaryFile(dir=app.settings.data_dir) as whole:
        try:
            async for chunk in _read_media(app.purging.media, ref):
                whole.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        except FileNotFoundError:
            return {"missing": True}
        whole.seek(0)
        with out.open(f"media/{ref}", "w") as file:
            shutil.copyfileobj(whole, file)
    return {"sha256": digest.hexdigest(), "bytes": size}


async def _read_media(media: MediaStore, ref: str) -> AsyncIterator[bytes]:
    """The chunks of a file. Raises FileNotFoundError, or Unreadable, so that a full disk of ours is told from it."""
    try:
        async for chunk in media.read(ref):
            yield chunk
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise Unreadable(type(problem).__name__) from None


def _messages(found: Held) -> Iterable[dict[str, Any]]:
    from services.api.conversations import shown  # noqa: PLC0415 - the archive shows messages as the API does

    messages = [state for state in found.states.values() if isinstance(state, Message) and state.added]
    return (orjson.loads(orjson.dumps(shown(one))) for one in sorted(messages, key=lambda one: -(one.place or 0)))


def _states(found: Held) -> Iterable[dict[str, Any]]:
    for (processor, key), state in sorted(found.states.items()):
        kept = {name: _plain(value) for name, value in msgspec.structs.asdict(state).items() if value}
        yield {"processor": processor, "key": key, "kind": told_as(state), "state": kept}


def _plain(value: Any) -> Any:
    """A field as JSON; bytes hold JSON themselves, or a digest."""
    if not isinstance(value, bytes):
        return msgspec.to_builtins(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.hex()


async def chunks(file: IO[bytes], size: int) -> AsyncIterator[bytes]:
    """The file in pieces; it is gone when they are read, or nobody wants them any more."""
    try:
        while piece := file.read(size):
            yield piece
    finally:
        file.close()
