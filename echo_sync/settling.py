"""Keeping a message as it is now known, and whatever its neighbours turn out to be because of it.

An app message may be a greeting or an away text (`echo_sync.automatic`), which follows from other messages: what the
customer wrote just before, and what was said to other customers. So a message that settles may cast doubt on others;
`finish` judges those again at the end of the turn.
"""

import copy

from echo_sync.automatic import (
    GREETING,
    REPEATED_TEXT,
    Rhythm,
    Saying,
    Wrote,
    app_wrote,
    customer_wrote,
    digest_of,
    messages_of,
    saying_key,
    with_message,
    without,
    without_message,
)
from echo_sync.identity import Person, person_key, survivor
from echo_sync.message import ECHO, LIVE, Message, origin, place
from echo_sync.turn import Turn
from schemas.ports import Decision


def settle(turn: Turn, before: Message, now: Message) -> None:
    """Keep a message and publish what changed."""
    if now == before:
        return
    turn.number = now.number
    if now.added:
        now.line, now.place, now.wake_at = now.conversation, place(now), None
        if turn.rules.signs.within_s and _sign(before) != (sign := _sign(now)):
            _weigh(turn, before, now, sign)
    turn.keep(before, now)


def finish(turn: Turn) -> Decision:
    """Judge again whatever this turn has cast doubt on. Returns the turn's decision."""
    for conversation, united, reviewed in turn.reviewed:
        _take_up(turn, conversation, united.wrote, reviewed.wrote)
        for one in reviewed.wrote:
            if one.quick and one.digest:
                turn.doubted.update(messages_of(_saying(turn, one.digest)))
    for message_id in sorted(turn.doubted):
        before = turn.message(turn.number, message_id)
        verdict = _verdict(turn, before)
        if verdict != before.automatic:
            judged = copy.copy(before)
            judged.automatic = verdict
            turn.note(f"automatic:{verdict or 'corrected'}")
            turn.keep(before, judged)
    return turn.decision


_Sign = tuple[float, str, bytes]


def _sign(message: Message) -> _Sign | None:
    """What of a message may make it, or another, look automatic; None where nothing does."""
    if not message.added:
        return None
    if message.direction == "inbound":
        return (message.hook_at, "", b"") if message.sources & LIVE else None
    return (message.hook_at, message.kind, message.content) if _is_the_apps(message) else None


def _is_the_apps(message: Message) -> bool:
    return bool(message.sources & ECHO) and message.kind != "reaction" and origin(message) == "business_app"


def _weigh(turn: Turn, before: Message, now: Message, sign: _Sign | None) -> None:
    """Let a message count for its conversation, and judge it."""
    person = survivor(turn, now.number, now.conversation)
    if person is None:
        return
    if now.direction == "inbound":
        if sign is not None:
            known = _sign(before)
            _beat(turn, person, customer_wrote(person.rhythm, turn.rules.signs, known[0] if known else 0, now.hook_at))
        return
    if sign is None:
        _forget(turn, person, now.message_id)
    else:
        digest = digest_of(turn.rules.key, now.kind, now.content)
        _beat(turn, person, app_wrote(person.rhythm, turn.rules.signs, now.message_id, now.hook_at, digest))
    now.automatic = _verdict(turn, now)
    if now.automatic:
        turn.note(f"automatic:{now.automatic}")


def _beat(turn: Turn, person: Person, rhythm: Rhythm) -> None:
    """Keep a conversation's rhythm, and what follows from it for its app messages."""
    if rhythm == person.rhythm:
        return
    changed = copy.copy(person)
    changed.rhythm = rhythm
    turn.put(person_key(person.conversation_id), changed)
    if rhythm.wrote is not person.rhythm.wrote:
        _take_up(turn, person.conversation_id, person.rhythm.wrote, rhythm.wrote)


def _forget(turn: Turn, person: Person, message_id: str) -> None:
    """A message is not the app's after all."""
    known = next((one for one in person.rhythm.wrote if one.message_id == message_id), None)
    if known is not None:
        _unsay(turn, known)
        _beat(turn, person, without(person.rhythm, message_id))


def _take_up(turn: Turn, conversation: str, before: tuple[Wrote, ...], after: tuple[Wrote, ...]) -> None:
    """What changed of a conversation's app messages changes what the texts were said to, and is to be judged."""
    known = {one.message_id: one for one in before}
    for one in after:
        old = known.get(one.message_id)
        if old == one:
            continue
        turn.doubted.add(one.message_id)
        if old is not None and old.digest != one.digest:
            _unsay(turn, old)
        if one.quick and one.digest:
            _say(turn, conversation, one)
        elif old is not None:
            _unsay(turn, old)


def _say(turn: Turn, conversation: str, one: Wrote) -> None:
    before = _saying(turn, one.digest)
    _put_saying(turn, one.digest, before, with_message(before, conversation, one.message_id, turn.now))


def _unsay(turn: Turn, one: Wrote) -> None:
    if one.digest:
        before = _saying(turn, one.digest)
        _put_saying(turn, one.digest, before, without_message(before, one.message_id))


def _saying(turn: Turn, digest: str) -> Saying:
    found: Saying | None = turn.get(saying_key(turn.number, digest))
    return found if found is not None else Saying()


def _put_saying(turn: Turn, digest: str, before: Saying, after: Saying) -> None:
    if after is before:
        return
    was_repeated = _is_repeated(turn, before)
    turn.put(saying_key(turn.number, digest), after if after.said else None)
    if was_repeated != _is_repeated(turn, after):
        turn.doubted.update(messages_of(after))


def _is_repeated(turn: Turn, saying: Saying) -> bool:
    """Was a text sent to enough customers? Conversations that turned out to be one count once."""
    homes = (survivor(turn, turn.number, conversation) for conversation in saying.said)
    customers = {home.conversation_id for home in homes if home is not None}
    return len(customers) >= turn.rules.signs.conversations


def _verdict(turn: Turn, message: Message) -> str:
    """Why a message looks automatic, as far as is known now. One too old to be remembered stays what it was."""
    if not _is_the_apps(message):
        return ""
    person = survivor(turn, message.number, message.conversation)
    wrote = person.rhythm.wrote if person is not None else ()
    one = next((one for one in wrote if one.message_id == message.message_id), None)
    if one is None:
        return message.automatic
    if one.greeting:
        return GREETING
    repeated = one.quick and one.digest and _is_repeated(turn, _saying(turn, one.digest))
    return REPEATED_TEXT if repeated else ""
