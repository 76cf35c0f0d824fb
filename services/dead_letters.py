"""Dead letters: what could not be handled is kept whole, with the reason, until it is replayed or discarded."""

import orjson

from schemas.ports import Event, Record
from schemas.topics import DEAD_LETTERS

VERSION = "0.1.0"


def dead_letter(record: Record, reason: str, now: float) -> tuple[str, Event]:
    """The record as an event of `dead-letters`. Its id follows from the record's, so a repeat is known as one."""
    event = record.event
    data = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "event_id": event.id,
        "type": event.type,
        "reason": reason,
        "version": VERSION,
        "raw": (event.data or b"").decode(errors="replace"),
    }
    letter = Event(
        f"dead:{record.topic}:{event.id}",
        "dead.letter",
        event.number,
        orjson.dumps(data),
        event.at,
        now,
        event.subject,
    )
    return DEAD_LETTERS, letter
