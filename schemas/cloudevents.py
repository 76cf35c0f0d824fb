"""Events as other programs meet them: CloudEvents 1.0 as headers of a Kafka record, and as one JSON object.

Coexist writes binary mode of the CloudEvents Kafka protocol binding; structured mode is read as well, for
commands come from anyone. `schemas.contract` describes the same headers. Log adapters and the command line
import this, so there is no pydantic here.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from schemas.instants import parse_rfc3339, rfc3339
from schemas.ports import Event, Record

SPECVERSION = "1.0"
UNREADABLE = "record.unreadable"
"""The type under which a record that is no event is handed on, whole, to become a dead letter; `subject` says why."""


class NotAnEvent(ValueError):
    """A record from outside that is no CloudEvent of ours; the message says why and quotes nothing of it."""


def dataschema(type: str) -> str:  # noqa: A002 - the word of CloudEvents
    """Name the schema of a type's data. An incompatible change would be another version, on another topic."""
    return f"urn:coexist:{type}:v1"


@lru_cache(maxsize=8_192)
def source(number: str) -> str:
    """Name the source of a number's events: a URI reference, together with the id unique for ever."""
    return f"/whatsapp/{quote(number, safe='')}"


def _attributes(event: Event) -> Iterator[tuple[str, str]]:
    yield "specversion", SPECVERSION
    yield "id", event.id
    yield "type", event.type
    yield "source", source(event.number)
    if event.subject:
        yield "subject", event.subject
    yield "time", rfc3339(event.at)
    yield "number", event.number
    if event.seq:
        yield "seq", str(event.seq)
    yield "recordedtime", rfc3339(event.recorded_at)
    if event.cause:
        yield "causationid", event.cause
    if event.trace:
        yield "traceparent", event.trace
    if event.data is not None:
        yield "dataschema", dataschema(event.type)


def timed(record: Record) -> Event:
    """Give a record's event. Where it tells no time, as an erased one, it has the time at which it was appended."""
    event = record.event
    if event.at and event.recorded_at:
        return event
    return replace(event, at=event.at or record.appended_at, recorded_at=event.recorded_at or record.appended_at)


def cloudevent(record: Record) -> dict[str, Any]:
    """Give a record as structured CloudEvents JSON. `data` is null on a tombstone; `seq` is decimal text.

    Raises msgspec.DecodeError when the data is not JSON.
    """
    event = timed(record)
    return {
        **dict(_attributes(event)),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "data": None if event.data is None else msgspec.json.decode(event.data),
    }


def headers(event: Event) -> list[tuple[str, bytes]]:
    """Give the headers of an event's Kafka record in binary mode; the value is `event.data` as it stands.

    The same attributes as in structured mode, written out: this is done for every record, several times an event.
    `ce_traceparent` stays as the event was born; `traceparent` is the hop that writes the record.
    """
    found = [
        ("ce_id", event.id.encode()),
        ("ce_time", rfc3339(event.at).encode()),
        ("ce_recordedtime", rfc3339(event.recorded_at).encode()),
        *_of_number(event.number),
        *_of_type(event.type, event.data is not None),
    ]
    if event.subject:
        found.append(("ce_subject", event.subject.encode()))
    if event.seq:
        found.append(("ce_seq", b"%d" % event.seq))
    if event.cause:
        found.append(("ce_causationid", event.cause.encode()))
    if event.trace:
        trace = event.trace.encode()
        found += [("ce_traceparent", trace), ("traceparent", trace)]
    return found


@lru_cache(maxsize=8_192)
def _of_number(number: str) -> tuple[tuple[str, bytes], ...]:
    return ("ce_source", source(number).encode()), ("ce_number", number.encode())


@lru_cache(maxsize=256)
def _of_type(type_: str, has_data: bool) -> tuple[tuple[str, bytes], ...]:  # noqa: FBT001 - a key of the cache
    found = (("ce_specversion", SPECVERSION.encode()), ("ce_type", type_.encode()))
    if not has_data:
        return found
    schema = dataschema(type_).encode()
    return *found, ("ce_dataschema", schema), ("content-type", b"application/json")


def event_from_headers(
    pairs: Iterable[tuple[str, bytes]], key: bytes | None, value: bytes | None, appended_at: float
) -> Event:
    """Read the event of a Kafka record, whoever wrote it: `ce_id` and `ce_type` must be there.

    A missing number is the record's key, a missing time is when the record was appended. Times are kept to
    the millisecond. Raises NotAnEvent.
    """
    try:
        attributes = {name.lower(): text.decode() for name, text in pairs if text and _is_ours(name.lower())}
        key_text = (key or b"").decode()
    except UnicodeDecodeError:
        raise NotAnEvent("its headers or key are not UTF-8") from None
    if attributes.get("content-type", "").lower().startswith("application/cloudevents"):
        return _event(*_structured(value), key_text, appended_at)
    found = {name[3:]: text for name, text in attributes.items() if name.startswith("ce_")}
    found.setdefault("traceparent", attributes.get("traceparent", ""))
    return _event(found, value, key_text, appended_at)


def _is_ours(name: str) -> bool:
    """Tell our headers from those of other tools, whose values may be any bytes."""
    return name.startswith("ce_") or name in ("content-type", "traceparent")


def _structured(value: bytes | None) -> tuple[dict[str, str], bytes | None]:
    try:
        members = msgspec.json.decode(value or b"", type=dict[str, msgspec.Raw])
        data = bytes(members.pop("data")) if "data" in members else None
        texts = {
            name: msgspec.json.decode(raw, type=str) for name, raw in members.items() if bytes(raw).startswith(b'"')
        }
    except msgspec.DecodeError:
        raise NotAnEvent("its value is not a JSON object") from None
    return texts, None if data == b"null" else data


def _event(found: dict[str, str], data: bytes | None, key: str, appended_at: float) -> Event:
    for name in ("id", "type"):
        if not found.get(name):
            raise NotAnEvent(f"its CloudEvents attribute {name} is missing")
    number = found.get("number") or key
    if not number:
        raise NotAnEvent("it has neither a number nor a key")
    try:
        seq = int(found.get("seq", "0"))
        at = parse_rfc3339(found["time"]) if "time" in found else appended_at
        recorded_at = parse_rfc3339(found["recordedtime"]) if "recordedtime" in found else appended_at
    except (ValueError, OverflowError):
        raise NotAnEvent("its seq is no number or its time no RFC 3339 time") from None
    return Event(
        id=found["id"],
        type=found["type"],
        number=number,
        data=data,
        at=at,
        recorded_at=recorded_at,
        subject=found.get("subject", ""),
        key="" if key == number else key,
        seq=seq,
        cause=found.get("causationid", ""),
        trace=found.get("traceparent", ""),
    )
