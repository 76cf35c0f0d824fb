"""Which media is to be fetched, when, and when it is given up. Pure, like all of this package.

Meta's media ids die seven days after a message came (Meta contract 6.6), so every message that carries one gets a job
at once: j/ a job, `slots` those that are open. A job waits in a line, is open while an attempt is under way, and waits
again with a growing delay when that missed. Few are open at a time, and one slot is never given to imported messages,
so that a history import neither floods the network nor delays what people send now.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas import items
from schemas.deciding import Deciding
from schemas.items import Item, Media
from schemas.marks import NOBODY, About
from schemas.ports import Decision, Event, Forget, State, States, Timer
from schemas.topics import DAY_S, DEAD_LETTERS, INBOUND, TIMELINE

NAME = "media.fetching"
KINDS = frozenset({"image", "video", "audio", "document", "sticker"})
ID_CHARS_MAX = 128
LIFE_S = 7 * DAY_S
"""How long Meta keeps what was sent to us, from the moment we have its id."""
OPEN_MAX = 4
"""Attempts under way per shard."""
IMPORTED_OPEN_MAX = OPEN_MAX - 1
ATTEMPT_S = 120.0
"""After this long without a word, an attempt is taken for lost: longer than `services.media.worker` gives one."""
BACKOFF_S, BACKOFF_S_MAX = 5.0, 6 * 3600.0
ATTEMPTS_MAX: Mapping[str, int] = {
    "too_large": 1,
    "wrong_type": 1,
    "forbidden_url": 3,
    "forbidden_address": 3,
    "redirected": 3,
    "wrong_hash": 5,
    "unknown_id": 5,
}
"""Misses that no number of attempts is likely to mend. All others are repeated for as long as the id lives."""
LIVE, IMPORTED = "live", "imported"
SLOTS = "slots"
JOB_PREFIX = "j/"


class Fetch(msgspec.Struct, frozen=True):
    """A call: fetch this, keep it, and say on `inbound` what came of it. `media`: as Meta tells of it."""

    number: str
    message_id: str
    kind: str
    media: Media
    attempt: int


class Job(State):
    """The media of one message, until it is kept or given up. `waits_in`: the line that it belongs to."""

    number: str = ""
    message_id: str = ""
    kind: str = ""
    media: Media = msgspec.field(default_factory=Media)
    waits_in: str = LIVE
    wanted_at: float = 0
    expires_at: float = 0
    attempt: int = 0
    open: bool = False


class Slots(State):
    """The keys of the jobs of a shard that are open."""

    open: list[str] = []


class Wanted(msgspec.Struct):
    """What a fact of `timeline` or a `media.wanted` says about media."""

    message_id: str = ""
    kind: str = ""
    origin: str = ""
    historical: bool = False
    content: Raw | UnsetType = UNSET
    media: Media | None = None


_wanted = msgspec.json.Decoder(Wanted)
_media = msgspec.json.Decoder(Media)


class Fetching:
    """The processor `media.fetching`. Its evidence is on `inbound`: what became of each attempt.

    `version` of the program stands in dead letters.
    """

    name = NAME
    inputs = (INBOUND, TIMELINE)

    def __init__(self, version: str) -> None:
        self.version = version

    def parse(self, event: Event, topic: str = "") -> Item | Wanted | None:
        """See `Processor.parse`. A message without media is looked at once and left."""
        if event.type in ("message.added", "message.completed"):
            wanted = _wanted.decode(event.data or b"{}")
            wanted.media = _media_of(wanted)
            return wanted if wanted.media is not None else None
        if event.type == "media.wanted":
            return _wanted.decode(event.data or b"{}")
        return items.decode(event) if event.type in HANDLERS else None

    def keys(self, event: Event, item: Item | Wanted) -> Iterable[str]:
        """See `Processor.keys`."""
        return job_key(event.number, item.message_id), SLOTS

    def follow(self, key: str, state: Any) -> Iterable[str]:
        """See `Processor.follow`."""
        return ()

    def state_type(self, key: str) -> type[State]:
        """See `Processor.state_type`."""
        return Slots if key == SLOTS else Job

    def about(self, key: str, state: Any) -> About:
        """See `Processor.about`."""
        return About(state.number, (f"m:{state.message_id}",)) if isinstance(state, Job) else NOBODY

    def decide(self, states: States, event: Event | Timer | Forget, item: Item | Wanted | None, now: float) -> Decision:
        """See `Processor.decide`."""
        desk = Desk(states, now, self.version)
        if isinstance(event, Forget):
            _forget(desk, event.key)
        elif isinstance(event, Timer):
            _fire(desk, event.key)
        elif isinstance(item, Wanted):
            _want(desk, event, item)
        elif item is not None and (job := desk.get(job_key(item.number or event.number, item.message_id))) is not None:
            HANDLERS[event.type](desk, job, item)
        return desk.decision


class Desk(Deciding):
    """One event's decision in the making: jobs put aside, opened and closed."""

    def __init__(self, states: States, now: float, version: str) -> None:
        super().__init__(states, now)
        self.version = version

    def line_up(self, job: Job) -> None:
        """Let a job wait for a slot, from now on."""
        self._put(job, opened=False, line=job.waits_in, place=self.now)
        self.look_again()

    def put_off(self, job: Job, until: float) -> None:
        """Let a job wait for its time."""
        self._put(job, opened=False, wake_at=until)

    def open(self, job: Job) -> None:
        """Begin an attempt."""
        self._put(job, opened=True, wake_at=self.now + ATTEMPT_S, attempt=job.attempt + 1)
        self.decision.calls.append(Fetch(job.number, job.message_id, job.kind, job.media, job.attempt + 1))

    def drop(self, job: Job) -> None:
        """Nothing is to be fetched any more."""
        self._release(_key(job))
        self.put(_key(job), None)

    def look_again(self) -> None:
        """See who may have a slot, once this is committed: lines are read as committed."""
        slots = self.slots()
        slots.wake_at = self.now
        self.put(SLOTS, slots)

    def slots(self) -> Slots:
        """A copy of the open slots."""
        known: Slots | None = self.get(SLOTS)
        return Slots() if known is None else copy.copy(known)

    def _put(
        self,
        job: Job,
        *,
        opened: bool,
        wake_at: float | None = None,
        line: str | None = None,
        place: float | None = None,
        attempt: int | None = None,
    ) -> None:
        if not opened:
            self._release(_key(job))
        changed = copy.copy(job)
        changed.open, changed.wake_at, changed.line, changed.place = opened, wake_at, line, place
        changed.attempt = job.attempt if attempt is None else attempt
        self.put(_key(job), changed)

    def _release(self, key: str) -> None:
        slots = self.slots()
        if key in slots.open:
            slots.open = [other for other in slots.open if other != key]
            slots.wake_at = self.now
            self.put(SLOTS, slots)


def job_key(number: str, message_id: str) -> str:
    """Where the job of a message is kept."""
    return f"{JOB_PREFIX}{number}/{message_id}"


def _key(job: Job) -> str:
    return job_key(job.number, job.message_id)


def _media_of(wanted: Wanted) -> Media | None:
    """The media that a message's content names. What we sent ourselves its sender has."""
    if wanted.kind not in KINDS or wanted.origin == "api" or wanted.content is UNSET:
        return None
    try:
        media = _media.decode(wanted.content)
    except msgspec.ValidationError:
        return None
    good = media.id.isascii() and media.id.isalnum() and len(media.id) <= ID_CHARS_MAX
    return Media(id=media.id, sha256=media.sha256, mime_type=media.mime_type) if good else None


def _want(desk: Desk, event: Event, wanted: Wanted) -> None:
    known: Job | None = desk.get(job_key(event.number, wanted.message_id))
    if wanted.media is None or (known is not None and known.media.id == wanted.media.id):
        return
    desk.line_up(
        Job(
            number=event.number,
            message_id=wanted.message_id,
            kind=wanted.kind,
            media=wanted.media,
            waits_in=IMPORTED if wanted.historical else LIVE,
            wanted_at=desk.now,
            expires_at=event.recorded_at + LIFE_S,
        )
    )


def _forget(desk: Desk, key: str) -> None:
    """The person was erased: nothing of theirs is to be fetched any more."""
    job: Job | None = desk.get(key)
    if job is not None:
        desk.drop(job)


def _on_stored(desk: Desk, job: Job, item: Item) -> None:
    if _same(job, item):
        desk.decision.notes.append("media:stored")
        desk.drop(job)


def _on_missed(desk: Desk, job: Job, item: Item) -> None:
    if _same(job, item) and job.open and job.attempt == item.attempt:
        _missed(desk, job, item.reason)


def _on_revoked(desk: Desk, job: Job, item: Item) -> None:
    """Deleted for everyone: what is not yet fetched stays where it is."""
    desk.drop(job)


def _same(job: Job, item: Item) -> bool:
    return item.media is not None and item.media.id == job.media.id


def _missed(desk: Desk, job: Job, reason: str) -> None:
    desk.decision.notes.append("media:missed")
    again_at = desk.now + min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** (job.attempt - 1))
    if job.attempt < ATTEMPTS_MAX.get(reason, job.attempt + 1) and again_at < job.expires_at:
        desk.put_off(job, again_at)
        return
    desk.decision.notes.append("media:failed")
    desk.drop(job)
    desk.decision.emit += [(INBOUND, _failed(job, reason, desk.now)), (DEAD_LETTERS, _letter(desk, job, reason))]


def _fire(desk: Desk, key: str) -> None:
    state = desk.get(key)
    if state is None or state.wake_at is None or state.wake_at > desk.now:
        return
    if isinstance(state, Slots):
        _fill(desk)
    elif state.open:
        _missed(desk, state, "no_answer")
    else:
        desk.line_up(state)


def _fill(desk: Desk) -> None:
    """Give the free slots away, to live messages first."""
    slots = desk.slots()
    slots.open, slots.wake_at = list(slots.open), None
    desk.put(SLOTS, slots)
    for line, most in ((LIVE, OPEN_MAX), (IMPORTED, IMPORTED_OPEN_MAX)):
        waiting = desk.states.heads(line, desk.now, OPEN_MAX) if len(slots.open) < most else []
        for key, _ in waiting:
            job: Job | None = desk.get(key)
            if len(slots.open) < most and job is not None and job.line == line:
                slots.open.append(key)
                desk.open(job)


def _failed(job: Job, reason: str, now: float) -> Event:
    item = Item(
        number=job.number,
        message_id=job.message_id,
        attempt=job.attempt,
        media=Media(id=job.media.id),
        reason=reason,
        at=now,
        received_at=now,
    )
    event_id = f"mf:{job.message_id}:{job.media.id}:{job.wanted_at}"
    return Event(event_id, "media.failed", job.number, items.encode(item), now, now, job.message_id)


def _letter(desk: Desk, job: Job, reason: str) -> Event:
    """The dead letter. What it replays is a `media.wanted`, which begins again."""
    now = desk.now
    wanted = Item(
        number=job.number, message_id=job.message_id, kind=job.kind, media=job.media, at=now, received_at=job.wanted_at
    )
    event_id = f"mw:{job.message_id}:{job.media.id}:{job.wanted_at}"
    letter = {
        "topic": INBOUND,
        "event_id": event_id,
        "type": "media.wanted",
        "reason": f"{NAME}: {reason}",
        "version": desk.version,
        "raw": items.encode(wanted).decode(),
    }
    data = msgspec.json.encode(letter)
    return Event(f"dead:{event_id}", "dead.letter", job.number, data, now, now, job.message_id)


HANDLERS: dict[str, Callable[[Desk, Job, Item], None]] = {
    "media.stored": _on_stored,
    "media.missed": _on_missed,
    "message.revoked": _on_revoked,
}
