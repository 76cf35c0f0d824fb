"""Asking for an erasure: who is meant, what names them, and the word on `inbound` with which it begins."""

import asyncio
import uuid
from typing import Any

from echo_sync.erasures import NO_STOP, Erasure, Mark, Word, erasure_key, word_event
from echo_sync.identity import Person, alias_keys, person_key
from echo_sync.reach import stop_of
from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.marks import PRIVACY, phone, users
from schemas.ports import Event, LogUnavailable
from schemas.states import MESSAGES, Alias, Reach, alias_key, reach_key
from schemas.topics import AUDIT, DAY_S, INBOUND, partition_of
from services.privacy.ledger import Entry, ledger_of
from services.retention import topics_kept_s
from services.running import App
from services.shard import decode_state

BEGUN_S = 5.0
"""How long the answer waits until the tombstones hold."""
LOOK_S = 0.05
RESTORED = "restored"
"""Who asks for an erasure that is carried out again."""


async def person_of(app: App, number: str, contact: Contact) -> Person | None:
    """The person a contact leads to at a number, as it stands."""
    shard = partition_of(number, app.log.partitions)
    aliases = await app.store.load(MESSAGES, shard, alias_keys(number, contact))
    for value in aliases.values():
        conversation = decode_state(Alias, value).conversation
        while conversation:
            found = (await app.store.load(MESSAGES, shard, [person_key(conversation)])).get(person_key(conversation))
            person: Person | None = None if found is None else decode_state(Person, found)
            if person is None or not person.merged_into:
                return person
            conversation = person.merged_into
    return None


async def own_identities(app: App, person: Person) -> list[str]:
    """The identities that lead to a person now: a recycled phone leads to somebody else."""
    shard = partition_of(person.number, app.log.partitions)
    keys = {alias_key(person.number, identity): identity for identity in person.aliases}
    found = await app.store.load(MESSAGES, shard, keys)
    return [
        keys[key] for key, value in found.items() if decode_state(Alias, value).conversation == person.conversation_id
    ]


async def begin(app: App, number: str, contact: Contact, by: str) -> str:
    """Make an erasure durable and return its id once its tombstones hold. Raises LogUnavailable, OSError."""
    person = await person_of(app, number, contact)
    named = [mark for mark in (*users(contact), phone(contact)) if mark]
    things = []
    if person is not None:
        named = list(dict.fromkeys((*named, *await own_identities(app, person))))
        things = [f"c:{person.conversation_id}"]
    by_user, stop = any(mark.startswith("u:") for mark in named), await _stop(app, person)
    digest = app.known_bars.digest
    marks = [Mark(digest(number, mark), person=True, by_user=by_user, stop=stop) for mark in named if mark[0] in "pu"]
    marks += [Mark(digest(number, thing)) for thing in things]
    now = app.clock()
    word = Word(id=uuid.uuid4().hex, number=number, by=by, at=now, marks=marks)
    note(app, word)
    await say(app, word)
    await _begun(app, word)
    return word.id


async def _stop(app: App, person: Person | None) -> str:
    """What a person wants no more of, which outlives them as a digest; empty where nobody is known."""
    if person is None:
        return ""
    key = reach_key(person.conversation_id)
    found = await app.store.load(MESSAGES, partition_of(person.number, app.log.partitions), [key])
    return (stop_of(decode_state(Reach, found[key]), app.clock()) if key in found else "") or NO_STOP


def note(app: App, word: Word) -> None:
    """Keep an erasure beside the store."""
    entry = Entry(word.id, word.number, word.at, [mark for mark in word.marks if mark.person], word.by)
    ledger_of(app.settings).note(entry)


async def say(app: App, word: Word) -> None:
    """Append the word with which an erasure begins."""
    event: Event = word_event("privacy.erase", word, app.clock(), f"erase:{word.id}")
    await app.log.append([(INBOUND, event)])


async def carry_out_again(app: App) -> int:
    """After a backup was restored: begin the noted erasures that the store does not know. How many there were.

    Each is recorded before it begins, for the audit may have been put back as well: who had asked for it, and when.
    """
    ledger = ledger_of(app.settings)
    again = [entry for entry in ledger.entries(app.clock()) if await erasure(app, entry.id, entry.number) is None]
    for entry in again:
        told = {"person": entry.marks[0].digest if entry.marks else "", "about": entry.id}
        asked_at = rfc3339(entry.at)
        await app.audit.record(entry.by or RESTORED, "person.erased_again", entry.number, asked_at=asked_at, **told)
        await say(app, Word(id=entry.id, number=entry.number, by=RESTORED, at=entry.at, marks=entry.marks))
    return len(again)


async def erasure(app: App, erasure_id: str, number: str) -> Erasure | None:
    """An erasure as it stands."""
    key = erasure_key(erasure_id)
    found = await app.store.load(PRIVACY, partition_of(number, app.log.partitions), [key])
    return decode_state(Erasure, found[key]) if key in found else None


async def _begun(app: App, word: Word) -> None:
    try:
        async with asyncio.timeout(BEGUN_S):
            while True:
                if await erasure(app, word.id, word.number) is not None:
                    break
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise LogUnavailable("the erasure is durable and has not begun yet") from None
    app.known_bars.look_again()


def report(app: App, state: Erasure) -> dict[str, Any]:
    """What an erasure has removed, and what is left to age out."""
    shown: dict[str, Any] = {
        "erasure_id": state.id,
        "number": state.number,
        "state": "done" if state.done_at else "open",
        "asked_at": rfc3339(state.asked_at),
        "holds_until": rfc3339(state.at),
        "removed": dict(sorted(state.counts.items())),
    }
    if state.done_at:
        shown["done_at"] = rfc3339(state.done_at)
    if app.file is None:
        longest = max(kept_s for topic, kept_s in topics_kept_s(app.settings).items() if topic != AUDIT)
        shown["ages_out"] = {"where": "kafka", "until": rfc3339(state.at + longest), "days": longest / DAY_S}
    return shown
