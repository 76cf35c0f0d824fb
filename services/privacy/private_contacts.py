"""The private-contact filter (COEXIST_CONTACTS): the owner's phone book holds people who are nobody's customers.

It stands before the log, so what it keeps out is never stored and never published (Meta contract 5.7, 11).
"""

from collections.abc import Iterable, Sequence

from echo_sync.contacts import SYNC_ACTIONS
from echo_sync.identity import alias_keys
from schemas.items import Item, decode
from schemas.ports import Event, Store
from schemas.states import MESSAGES
from schemas.topics import HISTORY, partition_of

ALL, CUSTOMERS, NONE = "all", "customers", "none"

Entries = Sequence[tuple[str, Event]]


class PrivateContacts:
    """Lets entries of the address book pass: all, those of people who have a conversation, or none."""

    def __init__(self, rule: str, store: Store, partitions: int) -> None:
        self._rule = rule
        self._store = store
        self._partitions = partitions

    async def wanted(self, entries: Entries) -> Entries:
        """The entries that may be stored, in their order; whatever is no address book passes untouched."""
        if self._rule == ALL or not any(is_of_book(topic, event) for topic, event in entries):
            return entries
        people = await self._people(entries) if self._rule == CUSTOMERS else frozenset[str]()
        return [(topic, event) for topic, event in entries if not is_of_book(topic, event) or _told_of(event, people)]

    async def _people(self, entries: Entries) -> frozenset[str]:
        """The identities of this webhook's contacts that lead to a conversation."""
        keys: dict[int, set[str]] = {}
        for topic, event in entries:
            if is_of_book(topic, event):
                keys.setdefault(partition_of(event.number, self._partitions), set()).update(_keys(event))
        found = [await self._store.load(MESSAGES, shard, sorted(wanted)) for shard, wanted in keys.items()]
        return frozenset(key for values in found for key in values)


def is_of_book(topic: str, event: Event) -> bool:
    """Whether an event is an entry of the address book; a customer's changed number is not."""
    return topic == HISTORY and event.type == "webhook.contact" and decode(event).action in SYNC_ACTIONS


def _told_of(event: Event, people: frozenset[str]) -> bool:
    return not people.isdisjoint(_keys(event))


def _keys(event: Event) -> Iterable[str]:
    item: Item = decode(event)
    return alias_keys(event.number, item.contact)
