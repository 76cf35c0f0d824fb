"""Greetings and away texts: what the app sent by itself, told from what a person wrote by two measurable signs.

The app's own texts come back as echoes that nothing marks (Meta contract 5.2), so they are judged by event time:

- `greeting`: sent within 5 s of the customer's first message after 14 days of silence;
- `repeated_text`: sent within 5 s of a customer's message, with words that were sent that quickly to three customers.

Only live messages count, as history may be said to nobody's cost. What is known of a conversation is its `Rhythm`.
Its `heard` and `spells` only grow, spells by growing together, so whatever the order, the same messages lead to the
same spells. An echo is first nothing, then perhaps a greeting (its customer's message came later), then for good none
(an earlier message of the customer came later still); a text counts as repeated once, and no longer only if two of its
customers turn out to be one or one of its messages turns out to be ours. Each step is told by `message.completed`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

import msgspec
from msgspec.structs import replace

from schemas.fragments import object_of
from schemas.ports import State

GREETING, REPEATED_TEXT = "greeting", "repeated_text"

TEXT_CHARS_MIN = 10
"""Shorter texts say nothing: people do answer "ok" within five seconds, to three customers and more."""
HEARD_MAX = 16
"""Customers' messages remembered per conversation, the newest: what an app message may have answered."""
WROTE_MAX = 8
"""App messages per conversation whose judgement may still change, the newest."""
SPELLS_MAX = 4
SAID_IN_MAX = 8
"""Conversations that a text is remembered to have been sent to: more than it takes."""
SAID_EACH_MAX = 4
SAYING_KEEP_S = 30 * 86_400.0
SAYING_RENEWED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Signs:
    """How quick a text must be to look automatic, after how long a silence, or in how many conversations."""

    within_s: float = 5.0
    quiet_s: float = 14 * 86_400.0
    conversations: int = 3


SIGNS = Signs()


class Wrote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An app message: when, which, the digest of its words (or nothing), and the signs it shows."""

    at: float
    message_id: str
    digest: str = ""
    greeting: bool = False
    quick: bool = False


class Rhythm(msgspec.Struct, frozen=True, array_like=True):
    """When a customer wrote and when the app did. A spell: from first to last of messages without a long silence."""

    heard: tuple[float, ...] = ()
    spells: tuple[tuple[float, float], ...] = ()
    wrote: tuple[Wrote, ...] = ()


class Saying(State):
    """A text that the app sent quickly: to which conversations, as which messages."""

    said: dict[str, list[str]] = {}


def saying_key(number: str, digest: str) -> str:
    """Where a text is kept, under its digest."""
    return f"g/{number}/{digest}"


def digest_of(key: bytes, kind: str, content: bytes) -> str:
    """The keyed digest of a text that is long enough to be told again; nothing for anything else."""
    if kind != "text":
        return ""
    body = object_of(content).get("body")
    if not isinstance(body, str) or len(body := body.strip()) < TEXT_CHARS_MIN:
        return ""
    return blake2b(body.encode(), digest_size=8, key=key).hexdigest()


# --- one conversation


def customer_wrote(rhythm: Rhythm, signs: Signs, before: float, at: float) -> Rhythm:
    """The rhythm with a customer's message; `before`: the time it was known under, 0 if it is new."""
    if (
        not before
        and (not rhythm.wrote or rhythm.wrote[-1].at < at)
        and rhythm.spells
        and rhythm.heard[-1] <= at <= rhythm.spells[-1][1] + signs.quiet_s
    ):
        start, end = rhythm.spells[-1]  # nearly all: one more, after the others, and nothing to judge by it
        return Rhythm((*rhythm.heard[1 - HEARD_MAX :], at), (*rhythm.spells[:-1], (start, max(end, at))), rhythm.wrote)
    heard = list(rhythm.heard)
    if before in heard:
        heard.remove(before)
    heard = sorted((*heard, at))[-HEARD_MAX:]
    spells = _grown(rhythm.spells, (at, at), signs.quiet_s)
    moved = {before, at} | ({start for start, _ in rhythm.spells} ^ {start for start, _ in spells})
    grown = Rhythm(tuple(heard), spells[-SPELLS_MAX:], rhythm.wrote)
    if not rhythm.wrote:
        return grown
    near = (_judged(one, grown, signs) if _is_quick(one.at, moved, signs) else one for one in rhythm.wrote)
    return replace(grown, wrote=tuple(near))


def app_wrote(rhythm: Rhythm, signs: Signs, message_id: str, at: float, digest: str) -> Rhythm:
    """The rhythm with an app message, judged."""
    others = without(rhythm, message_id).wrote
    new = _judged(Wrote(at, message_id, digest), rhythm, signs)
    return replace(rhythm, wrote=_newest((*others, new)))


def without(rhythm: Rhythm, message_id: str) -> Rhythm:
    """The rhythm without a message that was not the app's after all."""
    return replace(rhythm, wrote=tuple(one for one in rhythm.wrote if one.message_id != message_id))


def united(one: Rhythm, other: Rhythm) -> Rhythm:
    """Two conversations' rhythms together; to be `reviewed` before anything is read from it."""
    heard = tuple(sorted((*one.heard, *other.heard))[-HEARD_MAX:])
    return Rhythm(heard, (*one.spells, *other.spells), _newest((*one.wrote, *other.wrote)))


def reviewed(rhythm: Rhythm, signs: Signs) -> Rhythm:
    """The rhythm with its spells joined and every app message judged again."""
    spells: tuple[tuple[float, float], ...] = ()
    for spell in rhythm.spells:
        spells = _grown(spells, spell, signs.quiet_s)
    whole = replace(rhythm, spells=spells[-SPELLS_MAX:])
    return replace(whole, wrote=tuple(_judged(one, whole, signs) for one in rhythm.wrote))


def _grown(
    spells: tuple[tuple[float, float], ...], new: tuple[float, float], quiet_s: float
) -> tuple[tuple[float, float], ...]:
    """The spells with another one, which joins those that no long silence parts it from."""
    start, end = new
    apart = []
    for known in spells:
        if known[0] - new[1] > quiet_s or new[0] - known[1] > quiet_s:
            apart.append(known)
        else:
            start, end = min(start, known[0]), max(end, known[1])
    return tuple(sorted((*apart, (start, end))))


def _newest(wrote: tuple[Wrote, ...]) -> tuple[Wrote, ...]:
    return tuple(sorted(wrote, key=lambda one: (one.at, one.message_id))[-WROTE_MAX:])


def _judged(one: Wrote, rhythm: Rhythm, signs: Signs) -> Wrote:
    greeting = _is_quick(one.at, (start for start, _ in rhythm.spells), signs)
    return replace(one, greeting=greeting, quick=_is_quick(one.at, rhythm.heard, signs))


def _is_quick(at: float, times: Iterable[float], signs: Signs) -> bool:
    return any(0 <= at - time <= signs.within_s for time in times)


# --- one text


def messages_of(saying: Saying) -> list[str]:
    """The messages that said it, as far as they are remembered."""
    return list(chain.from_iterable(saying.said.values()))


def with_message(saying: Saying, conversation: str, message_id: str, now: float) -> Saying:
    """The text as also said in this message; itself where enough is remembered already."""
    said = saying.said.get(conversation, [])
    room = len(said) < SAID_EACH_MAX and (said or len(saying.said) < SAID_IN_MAX)
    is_new = message_id not in said and room
    if not is_new and (saying.wake_at or 0) > now + SAYING_KEEP_S - SAYING_RENEWED_S:
        return saying
    kept = Saying(wake_at=now + SAYING_KEEP_S, said=dict(saying.said))
    if is_new:
        kept.said[conversation] = sorted([*said, message_id])
    return kept


def without_message(saying: Saying, message_id: str) -> Saying:
    """The text as not said in this message; itself where it was not remembered."""
    if message_id not in messages_of(saying):
        return saying
    left = {where: [one for one in said if one != message_id] for where, said in saying.said.items()}
    return Saying(wake_at=saying.wake_at, said={where: said for where, said in left.items() if said})
