"""Whose message this is: phones and user ids that lead to one conversation.

A user id (BSUID) names a person for good; a phone may be given to somebody else. So an event that carries both joins
them, except where the phone already belongs to a person with another user id: then the phone has been recycled, and
goes to whoever used it last. A conversation id is a keyed digest of the first identity seen, so it tells nothing and
is never given to another person. When two conversations turn out to be one, the smaller id survives.
"""

import copy
from hashlib import blake2b

from echo_sync.automatic import Rhythm, united
from schemas.items import Contact
from schemas.marks import Tombstone, stone_key
from schemas.phones import match_key
from schemas.ports import Missing, State, States
from schemas.states import Alias, alias_key, reach_key


class Person(State):
    """One conversation's identities, what is known of the contact, and which of our sends to it are open."""

    number: str = ""
    conversation_id: str = ""
    aliases: list[str] = []
    wa_id: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""
    name: str = ""
    merged_into: str = ""
    open: list[str] = []
    waiting: list[str] = []
    since: float = 0
    renamed_at: float = 0
    rhythm: Rhythm = Rhythm()


class Resolution:
    """What resolving a contact led to: the person, the states that changed, and the conversations that were joined.

    `stone`: the tombstone of somebody who was erased, wants no more of something, and begins anew here.
    """

    __slots__ = ("changed", "merged", "person", "stone")

    def __init__(self, person: Person) -> None:
        self.person = person
        self.changed: dict[str, State | None] = {}
        self.merged: list[tuple[str, str]] = []
        self.stone: Tombstone | None = None


def person_key(conversation_id: str) -> str:
    """Where a person is kept."""
    return f"c/{conversation_id}"


def identities(contact: Contact) -> list[str]:
    """The identities a contact carries, strongest first."""
    found = []
    if contact.user_id:
        found.append(f"u:{contact.user_id}")
    if contact.parent_user_id:
        found.append(f"u:{contact.parent_user_id}")
    if contact.wa_id:
        found.append(f"p:{match_key(contact.wa_id)}")
    return found


def alias_keys(number: str, contact: Contact) -> list[str]:
    """The alias states that a contact touches."""
    return [alias_key(number, identity) for identity in identities(contact)]


def conversation_id(key: bytes, number: str, identity: str) -> str:
    """The id of a conversation that begins with this identity."""
    return "c" + blake2b(f"{number}/{identity}".encode(), digest_size=12, key=key).hexdigest()


def find(states: States, number: str, contact: Contact) -> Person | None:
    """The person a contact leads to, or None where nobody was met yet."""
    for identity in identities(contact):
        alias = states.get(alias_key(number, identity))
        if alias is not None:
            return survivor(states, number, alias.conversation)
    return None


def survivor(states: States, number: str, conversation: str) -> Person | None:
    """The person under a conversation id, or under the one that it was merged into."""
    person: Person | None = states.get(person_key(conversation))
    while person is not None and person.merged_into:
        person = states.get(person_key(person.merged_into))
    return person


def resolve(states: States, key: bytes, number: str, contact: Contact, at: float, fallback: str) -> Resolution:
    """The person a contact leads to, met now if never before. `fallback` names a sender who shows no identity."""
    names = identities(contact) or [f"m:{fallback}"]
    known = {name: alias for name in names if (alias := states.get(alias_key(number, name))) is not None}
    if (person := _well_known(states, names, known)) is not None and _adds_nothing(person, names, contact, at):
        return Resolution(person)
    people = _people(states, number, known)
    home = _home(people, contact)
    stones: list[Tombstone | None] = []
    if home is None:
        stones = _stones(states, key, number, names)
        home = Person(number=number, conversation_id=_new_id(stones[0], key, number, names[0]))
    result = Resolution(home)
    result.stone = next((stone for stone in _theirs(contact, names, stones) if stone.stop), None)
    _join(states, result, [person for person in people.values() if _same(person, home, contact)])
    _attach(result, known, names, contact, at)
    return result


def _well_known(states: States, names: list[str], known: dict[str, Alias]) -> Person | None:
    """The person to whom all of these names lead already, as they do for nearly every message."""
    home = known[names[0]].conversation if names[0] in known else ""
    if not home or any(name not in known or known[name].conversation != home for name in names):
        return None
    person: Person | None = states.get(person_key(home))
    return person if person is not None and not person.merged_into else None


def _adds_nothing(person: Person, names: list[str], contact: Contact, at: float) -> bool:
    """Whether a contact of this person says only what is known of them."""
    return (
        0 < person.since <= at
        and _fits(person, contact)
        and all(name in person.aliases for name in names)
        and not (contact.user_id and not person.user_id)
        and not (contact.wa_id and not person.wa_id)
        and contact.parent_user_id in ("", person.parent_user_id)
        and contact.username in ("", person.username)
        and contact.name in ("", person.name)
    )


def _stones(states: States, key: bytes, number: str, names: list[str]) -> list[Tombstone | None]:
    """The tombstones under these identities. Raises Missing with all that are not loaded.

    With them goes what the new conversation will be asked for next, for each question is a trip to the database.
    """
    found: list[Tombstone | None] = []
    missing: list[str] = []
    for name in names:
        try:
            found.append(states.get(stone_key(key, number, name)))
        except Missing as absent:
            missing += absent.keys
    if missing:
        raise Missing([*missing, reach_key(_new_id(None, key, number, names[0]))])
    return found


def _theirs(contact: Contact, names: list[str], stones: list[Tombstone | None]) -> list[Tombstone]:
    """The tombstones that are about this person; a stranger's user id beside the phone shows somebody else."""
    found = [(name, stone) for name, stone in zip(names, stones, strict=False) if stone is not None]
    is_stranger = bool(contact.user_id or contact.parent_user_id) and not any(n.startswith("u:") for n, _ in found)
    return [stone for name, stone in found if not (is_stranger and name.startswith("p:") and stone.by_user)]


def _new_id(stone: Tombstone | None, key: bytes, number: str, identity: str) -> str:
    """The id of a conversation that begins now. Who was erased and writes again begins another one."""
    return conversation_id(key, number, identity if stone is None else f"{identity}/{stone.at}")


def _people(states: States, number: str, known: dict[str, Alias]) -> dict[str, Person]:
    people: dict[str, Person] = {}
    for alias in known.values():
        person = survivor(states, number, alias.conversation)
        if person is not None:
            people[person.conversation_id] = person
    return people


def _home(people: dict[str, Person], contact: Contact) -> Person | None:
    """Of the people the identities lead to, the one who may be this contact, smallest id first."""
    fitting = [person for person in people.values() if _fits(person, contact)]
    return min(fitting, key=lambda person: person.conversation_id, default=None)


def _fits(person: Person, contact: Contact) -> bool:
    return not (contact.user_id and person.user_id) or f"u:{contact.user_id}" in person.aliases


def _same(person: Person, home: Person, contact: Contact) -> bool:
    if person.conversation_id == home.conversation_id or not _fits(person, contact):
        return False
    return not (person.user_id and home.user_id) or f"u:{person.user_id}" in home.aliases or bool(contact.user_id)


def succeed(states: States, before: Person, contact: Contact, at: float) -> Resolution:
    """Meta's word that a person has other identities now (Meta contract 3.13).

    Whoever was met under the new user id is the same person, and so is whoever was met under the new phone since
    `at`. A phone that was in use before then belonged to a stranger, who keeps the messages but not the phone.
    """
    names = identities(contact)
    known = {name: alias for name in names if (alias := states.get(alias_key(before.number, name))) is not None}
    people = _people(states, before.number, known).values()
    result = Resolution(before)
    _join(states, result, [person for person in people if _succeeds(person, before, contact, at)])
    renamed = copy.copy(result.person)
    if at >= renamed.renamed_at:
        renamed.user_id = contact.user_id or renamed.user_id
        renamed.wa_id = contact.wa_id or renamed.wa_id
        renamed.renamed_at = at
    result.person = renamed
    result.changed[person_key(renamed.conversation_id)] = renamed
    _attach(result, known, names, contact, at)
    return result


def _succeeds(person: Person, before: Person, contact: Contact, at: float) -> bool:
    if person.conversation_id == before.conversation_id:
        return False
    if {f"u:{contact.user_id}", f"u:{contact.parent_user_id}"} & set(person.aliases):
        return True
    return person.since >= at and (not person.user_id or f"u:{person.user_id}" in before.aliases)


def _join(states: States, result: Resolution, others: list[Person]) -> None:
    """Merge other conversations into the survivor and let their aliases lead to it."""
    for other in others:
        small, large = sorted((result.person, other), key=lambda person: person.conversation_id)
        kept = copy.copy(small)
        kept.aliases = sorted({*small.aliases, *large.aliases})
        kept.open = [*small.open, *(token for token in large.open if token not in small.open)]
        kept.since = min(small.since or large.since, large.since or small.since)
        kept.waiting = [*small.waiting, *(wamid for wamid in large.waiting if wamid not in small.waiting)]
        newer, older = sorted((small, large), key=lambda person: -person.renamed_at)
        for field in ("wa_id", "user_id", "parent_user_id", "username", "name"):
            setattr(kept, field, getattr(newer, field) or getattr(older, field))
        kept.renamed_at = newer.renamed_at
        kept.rhythm = united(small.rhythm, large.rhythm)
        retired = copy.copy(large)
        retired.merged_into, retired.open, retired.waiting = kept.conversation_id, [], []
        retired.rhythm = Rhythm()
        for identity in large.aliases:
            alias = states.get(alias_key(kept.number, identity))
            if alias is not None and alias.conversation == large.conversation_id:
                result.changed[alias_key(kept.number, identity)] = Alias(
                    conversation=kept.conversation_id, claimed_at=alias.claimed_at
                )
        result.changed[person_key(retired.conversation_id)] = retired
        result.merged.append((kept.conversation_id, retired.conversation_id))
        result.person = kept


def _attach(result: Resolution, known: dict[str, Alias], names: list[str], contact: Contact, at: float) -> None:
    """Let every identity of the contact lead to its person, and keep what the contact tells of itself."""
    person = copy.copy(result.person)
    person.since = min(person.since or at, at)
    for name in names:
        alias = known.get(name)
        if alias is not None and alias.claimed_at > at and alias.conversation != person.conversation_id:
            continue
        claimed_at = max(at, alias.claimed_at) if alias else at
        if alias is None or alias.conversation != person.conversation_id:
            result.changed[alias_key(person.number, name)] = Alias(
                conversation=person.conversation_id, claimed_at=claimed_at
            )
        if name not in person.aliases:
            person.aliases = [*person.aliases, name]
    for field in ("wa_id", "user_id", "parent_user_id", "username", "name"):
        value = getattr(contact, field)
        if value and not (field in ("user_id", "wa_id") and getattr(person, field)):
            setattr(person, field, value)
    if person != result.person or result.merged or not result.person.aliases:
        result.changed[person_key(person.conversation_id)] = person
    result.person = person
