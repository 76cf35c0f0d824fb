"""The list of a number's conversations in pages, and the search in it."""

import asyncio
from collections.abc import AsyncIterator

from schemas.phones import digits, match_key
from schemas.ports import NOWHERE
from schemas.states import CONVERSATIONS, MESSAGES, Alias, Conversation, alias_key, conversation_key
from schemas.topics import partition_of
from services.api import pages
from services.api.pages import Page
from services.running import App
from services.shard import decode_state

SEARCHED_MAX = 20_000
"""Conversations that a search by name looks at, the latest first."""
PIECE = 500
"""Conversations that are decoded before others get their turn."""
DIGITS_MIN = 5
"""Shorter than this is no phone (E.164)."""


async def page(app: App, number: str, limit: int, after: float = NOWHERE) -> Page[Conversation]:
    """The conversations of a number that follow a place, the latest first."""
    shard = partition_of(number, app.log.partitions)
    return await pages.page(app.store, CONVERSATIONS, shard, number, Conversation, limit, after)


async def search(app: App, number: str, asked: str, limit: int) -> list[Conversation]:
    """By conversation id, phone or user id at once; else by a part of name, user name or phone."""
    exact = await _exact(app, number, asked.strip())
    if exact is not None:
        return [exact]
    part = asked.strip().casefold()
    phone = digits(part)
    found: list[Conversation] = []
    async for state in _latest(app, number):
        words = f"{state.name}\n{state.username}\n{state.user_id}".casefold()
        if part in words or (len(phone) > 2 and phone in state.wa_id):
            found.append(state)
            if len(found) >= limit:
                break
    return found


async def _latest(app: App, number: str) -> AsyncIterator[Conversation]:
    after: float | None = NOWHERE
    seen = 0
    while after is not None and seen < SEARCHED_MAX:
        found = await page(app, number, PIECE, after)
        for state in found.states:
            yield state
        seen += len(found.states)
        after = found.after
        await asyncio.sleep(0)


async def _exact(app: App, number: str, asked: str) -> Conversation | None:
    shard = partition_of(number, app.log.partitions)
    phone = digits(asked)
    identities = [f"u:{asked}"]
    if len(phone) >= DIGITS_MIN:
        identities.append(f"p:{match_key(phone)}")
    aliases = await app.store.load(MESSAGES, shard, [alias_key(number, identity) for identity in identities])
    ids = [asked, *(decode_state(Alias, value).conversation for value in aliases.values())]
    states = await app.store.load(CONVERSATIONS, shard, [conversation_key(one) for one in ids])
    for value in states.values():
        state: Conversation = decode_state(Conversation, value)
        if state.number == number:
            return await _exact(app, number, state.merged_into) if state.merged_into else state
    return None
