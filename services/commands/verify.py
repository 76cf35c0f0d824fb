"""`coexist verify`: what is stored against what is retained."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from services.commands.failure import FAILED, settings_or_exit
from services.commands.move import plainly

if TYPE_CHECKING:
    from services.settings import Settings
    from services.verify.books import Books
    from services.verify.verdict import Verdict

SHOWN_MAX = 20
"""Differences of a kind that are shown; the rest are counted."""


@click.command()
def verify() -> None:
    """Check, with the service stopped, that what is stored follows from the topics; exit 1 on any difference.

    \b
    Looked at, of every number:
    - timeline, contacts, account, sends: `seq` without a gap or a repeat, up to the last one that was given (on the
      cluster repeats are counted only, as readers drop them);
    - messages: direction, origin, content, edit, deletion, statuses and command, as stored against what timeline
      tells, and against inbound and history decided again from their beginning;
    - who is who: each identity and each message in the same conversation, whatever its id;
    - conversations: identities, claims, assignee, window, unread and answered messages, first and last times, as
      stored against timeline and outbound decided again, and the whole state against what conversations tells last.

    \b
    Not compared, because the clock, the order of reading or settings decide it:
    - until when a claim holds and who owns a conversation now; timers; versions; names and usernames;
    - echoes that still wait for a send, and whose an echo is that was taken for a send by its words alone;
    - against what is decided again, whether a message is automatic;
    - numbers, templates, costs, import progress and address books (of contacts and account: `seq` only);
    - what the sender, media and relays have in hand.

    Where retention has removed the beginning of a topic, what is left is decided again over the stored states
    instead, and must add nothing to them.
    """  # noqa: D301 - the backspace tells click not to fill these paragraphs
    settings = settings_or_exit()
    with plainly("Run it again once it answers."):
        verdict = asyncio.run(_verify(settings))
    for line in _told(verdict):
        click.echo(line)
    if verdict.differences:
        sys.exit(FAILED)


async def _verify(settings: "Settings") -> "Verdict":
    from services.verify.verdict import verify as look  # noqa: PLC0415 - beside its use, as in all commands

    def say(what: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{what}   ", nl=False, err=True)

    async with _books(settings) as books:
        verdict = await look(settings, books, time.time(), say)
        say("done\n")
        return verdict


@asynccontextmanager
async def _books(settings: "Settings") -> "AsyncIterator[Books]":
    if settings.kafka_bootstrap_servers:
        from services.verify.cluster import cluster_books  # noqa: PLC0415 - needs the extras kafka and postgres

        async with cluster_books(settings) as books:
            yield books
        return
    from services.verify.books import FolderBooks  # noqa: PLC0415

    folder = FolderBooks(settings)
    try:
        yield folder
    finally:
        await folder.close()


def _told(verdict: "Verdict") -> list[str]:
    lines = []
    for kind in sorted({difference.kind for difference in verdict.differences}):
        found = [difference for difference in verdict.differences if difference.kind == kind]
        lines += [f"{kind}: {one.place}: {one.says}" for one in found[:SHOWN_MAX]]
        if len(found) > SHOWN_MAX:
            lines.append(f"{kind}: and {len(found) - SHOWN_MAX:,} more")
    seen = f"{verdict.events:,} events, {verdict.messages:,} messages, {verdict.conversations:,} conversations"
    if verdict.repeats:
        seen += f", {verdict.repeats:,} repeats"
    if verdict.partly:
        seen += f"; {verdict.partly:,} shards over stored states, for their inputs begin late"
    count = len(verdict.differences)
    return [*lines, f"{seen}: {f'{count:,} differences' if count else 'all as it must be'}."]
