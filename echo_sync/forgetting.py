"""What the states of echo_sync name, and how they are forgotten when a person is erased. Pure.

A message is its conversation's, so a person is known by conversation once an identity has led to it; the alias alone
is judged by the identity and by when it was claimed, for whoever writes anew after an erasure is somebody new.
"""

from typing import Any

import orjson

from echo_sync.automatic import Saying
from echo_sync.contacts import Entry
from echo_sync.echoes import Attempt
from echo_sync.identity import Person
from echo_sync.message import Message, sent_at
from echo_sync.turn import Turn
from schemas.instants import rfc3339
from schemas.items import Contact
from schemas.marks import NOBODY, About
from schemas.states import Alias, Reach
from schemas.topics import CONTACTS


def about(key: str, state: Any) -> About:
    """Whom and what a state of `echo_sync.messages` names."""
    if isinstance(state, Message):
        things = (*_things(state.message_id, state.conversation, state.command_id), *_of("t:", state.matched))
        born = sent_at(state) or state.received_at
        return About(state.number, things, refs=_refs(state), kind="messages" if born else "", born=born)
    if isinstance(state, Alias):
        return _of_alias(key, state)
    if isinstance(state, Person):
        return About(state.number, (*_of("c:", state.conversation_id), *_of("c:", state.merged_into)))
    if isinstance(state, Attempt):
        things = _things(state.message_id, state.conversation, state.command_id)
        return About(state.number, (*things, *_of("t:", state.token), *_of("m:", state.matched)))
    kind, _, rest = key.partition("/")
    number, _, rest = rest.partition("/")
    if isinstance(state, Reach):
        return About(state.number, _of("c:", state.conversation))
    if isinstance(state, Saying):
        return About(key.split("/", 2)[1], tuple(f"c:{conversation}" for conversation in state.said), shared=True)
    if isinstance(state, Entry):
        return About(number, (f"c:{rest}",))
    if kind == "s":
        return About(number, tuple(f"m:{part}" for part in rest.split(":")[1:] if part))
    return NOBODY


def _things(message_id: str, conversation: str, command_id: str) -> tuple[str, ...]:
    return (*_of("m:", message_id), *_of("c:", conversation), *_of("k:", command_id))


def _of(prefix: str, value: str) -> tuple[str, ...]:
    return (prefix + value,) if value else ()


def _refs(message: Message) -> tuple[str, ...]:
    ref = orjson.loads(message.media).get("ref") if message.media else None
    return (ref,) if isinstance(ref, str) else ()


def _of_alias(key: str, alias: Alias) -> About:
    _, number, identity = key.split("/", 2)
    kind, _, value = identity.partition(":")
    things = _of("c:", alias.conversation)
    if kind == "m":
        return About(number, (*things, *_of("m:", value)), at=alias.claimed_at)
    person = Contact(user_id=value) if kind == "u" else Contact(wa_id=value)
    return About(number, things, (person,), alias.claimed_at)


def forget(turn: Turn, key: str, things: frozenset[str]) -> None:
    """Forget a state; a person's end is told, for subscribers hold copies of their own."""
    state = turn.get(key)
    if isinstance(state, Saying):
        left = {
            conversation: wamids for conversation, wamids in state.said.items() if f"c:{conversation}" not in things
        }
        turn.put(key, Saying(said=left) if left else None)
        return
    if isinstance(state, Person) and not state.merged_into:
        data = {"number": state.number, "conversation_id": state.conversation_id, "at": rfc3339(turn.now)}
        turn.emit(CONTACTS, "contact.erased", state.number, state.conversation_id, "erased", data)
    if state is not None:
        turn.put(key, None)
