"""What the tests of the core share: items as ingest writes them, strict checks of all that is written, a clock."""

import itertools

import orjson
from msgspec import UNSET, Raw

from schemas import items
from schemas.events import DATA, ON, validate_strict
from schemas.items import Contact, Item
from schemas.ports import Event
from schemas.tokens import make_token
from schemas.topics import TOPICS

KEY = b"k" * 32
NUMBER = "106540352242922"
WABA = "102290129340398"
BUSINESS = "34600999888"
T0 = 1_790_000_000.0
"""Where virtual time begins, in seconds since 1970."""


class Clock:
    """Virtual time: stands still until it is moved."""

    def __init__(self, now=T0):
        self.now = now

    def __call__(self):
        return self.now


# --- strictness


def check(topic, event):
    """Everything that is written is published: its type belongs to its topic, and its data to the type's model."""
    assert event.type in ON[topic], f"{event.type} does not belong on {topic}"
    assert event.type in DATA
    assert event.id
    if event.data is None:
        assert TOPICS[topic].retention_s is None, f"a tombstone on {topic}"
    else:
        validate_strict(event.type, event.data)


class StrictLog:
    """An `EventLog` that looks at every record before the log behind it appends it."""

    def __init__(self, log):
        self._log = log

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def append(self, entries):
        for topic, event in entries:
            check(topic, event)
        await self._log.append(entries)


class StrictStore:
    """A `Store` that looks at every output before the store behind it commits it."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, commit):
        for topic, event in commit.outputs:
            check(topic, event)
        await self._store.commit(commit)


async def read_all(log, topic):
    """Every durable record of a topic, partition by partition."""
    found = []
    for partition in range(log.partitions):
        offset = 0
        while records := await log.read(topic, partition, offset, 1_000):
            found.extend(records)
            offset = records[-1].offset + 1
    return found


async def audit(log):
    """Check every record of every topic: published, offsets and `seq` without gaps. Returns the topics' events."""
    events = {}
    for topic in TOPICS:
        records = await read_all(log, topic)
        next_offset, last_seq = {}, {}
        for record in records:
            check(topic, record.event)
            assert record.offset == next_offset.get(record.partition, 0), f"a gap in {topic}"
            next_offset[record.partition] = record.offset + 1
            if TOPICS[topic].sequenced:
                assert record.event.seq == last_seq.get(record.event.number, 0) + 1, f"a gap in seq of {topic}"
                last_seq[record.event.number] = record.event.seq
        events[topic] = [record.event for record in records]
    return events


# --- items, as ingest and the sender write them


def event(kind, event_id, item, subject=""):
    item.number = item.number or NUMBER
    item.received_at = item.received_at or item.at
    return Event(event_id, kind, item.number, items.encode(item), item.at, item.received_at, subject or item.message_id)


def text(body):
    return "text", Raw(orjson.dumps({"body": body}))


def _webhook(**fields):
    kind_content = fields.pop("says", None)
    if kind_content is not None:
        fields["kind"], fields["content"] = kind_content if isinstance(kind_content, tuple) else text(kind_content)
    raw = Raw(orjson.dumps({"type": fields.get("kind") or "x"}))
    return Item(waba=WABA, business_phone=BUSINESS, raw=raw, **fields)


def message(wamid, contact, at, says="hola", **more):
    return event("webhook.message", f"m:{wamid}", _webhook(message_id=wamid, contact=contact, at=at, says=says, **more))


def echo(wamid, contact, at, says="hola", **more):
    return event("webhook.echo", f"e:{wamid}", _webhook(message_id=wamid, contact=contact, at=at, says=says, **more))


def placeholder(make, wamid, contact, at):
    """A message or an echo that Meta could not deliver yet: error 131060."""
    errors = Raw(b'[{"code":131060,"title":"This message is currently unavailable."}]')
    return make(wamid, contact, at, says=("unsupported", UNSET), errors=errors)


def history(wamid, contact, at, direction, says="hola", **more):
    item = _webhook(message_id=wamid, contact=contact, at=at, direction=direction, says=says, status="READ", **more)
    return event("webhook.history", f"h:{wamid}:{item.kind}", item)


def progress(phase, order, percent, at):
    item = _webhook(phase=phase, chunk_order=order, progress=percent, at=at)
    return event("webhook.history", f"hc:{phase}:{order}", item)


def status(wamid, status_, contact, at, token="", code=0, **more):
    errors = Raw(orjson.dumps([{"code": code, "title": "failed"}])) if code else UNSET
    item = _webhook(message_id=wamid, status=status_, contact=contact, at=at, token=token, errors=errors, **more)
    return event("webhook.status", f"s:{wamid}:{status_}::{code or ''}", item)


def edit(wamid, event_id, contact, at, says, side="customer"):
    item = _webhook(message_id=wamid, event_id=event_id, contact=contact, at=at, says=says, side=side)
    return event("webhook.edit", f"d:{wamid}:{event_id}", item)


def revoke(wamid, contact, at, side="customer"):
    item = _webhook(message_id=wamid, event_id=f"r-{wamid}", contact=contact, at=at, side=side)
    return event("webhook.revoke", f"r:{wamid}:{side}", item)


def contact_event(action, contact, at, previous=None, event_id="sys1"):
    item = _webhook(action=action, contact=contact, previous=previous, at=at, event_id=event_id)
    return event("webhook.contact", f"c:{event_id}", item)


def account(event_, at, field="coexist", number=NUMBER):
    item = _webhook(field=field, event=event_, at=at, number=number)
    return event("webhook.account", f"a:{field}:{event_}:{at}", item)


def token_of(command_id, attempt=1):
    return make_token(KEY, command_id, attempt)


def attempted(command_id, contact, at, says="hola", attempt=1, author="bot"):
    kind, content = says if isinstance(says, tuple) else text(says)
    item = Item(
        command_id=command_id,
        attempt=attempt,
        token=token_of(command_id, attempt),
        contact=contact,
        at=at,
        kind=kind,
        content=content,
        author=author,
    )
    return event("send.attempted", f"a:{item.token}", item, command_id)


def answered(command_id, outcome, contact, at, wamid="", attempt=1, code=0, reason="", **more):
    item = Item(
        command_id=command_id,
        attempt=attempt,
        token=token_of(command_id, attempt),
        contact=contact,
        at=at,
        outcome=outcome,
        message_id=wamid,
        code=code,
        reason=reason,
        **more,
    )
    return event("send.answered", f"w:{item.token}:{outcome}", item, command_id)


_ids = itertools.count(1)


def outbound(kind, at, event_id="", **data):
    """A record of `outbound`: a request, a cancellation, a takeover, a release or an assignment."""
    body = orjson.dumps({"number": NUMBER} | data)
    subject = data.get("command_id") or data.get("conversation_id", "")
    return Event(event_id or f"o{next(_ids)}", kind, NUMBER, body, at, at, subject)


def request(command_id, to, at=T0, says="hola", **more):
    body = {"type": "text", "text": {"body": says}} if isinstance(says, str) else says
    return outbound("send.requested", at, command_id=command_id, to=to, message=body, **more)


def phone(wa_id, user_id="", **more):
    return Contact(wa_id=wa_id, user_id=user_id, **more)


def user(user_id, **more):
    return Contact(user_id=user_id, **more)
