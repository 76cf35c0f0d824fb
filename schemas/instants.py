"""Instants: seconds since 1970 inside, RFC 3339 in everything that people or other programs read."""

from datetime import UTC, datetime
from functools import lru_cache

MS_THRESHOLD = 10**11
"""Above this a number of seconds is a number of milliseconds (Meta contract, appendix A)."""


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(instant_s: float) -> str:
    """`1790000000.25` becomes `2026-09-21T14:13:20.250Z`; whole seconds carry no fraction."""
    whole = int(instant_s)
    ms = int((instant_s - whole) * 1000 + 0.5)
    if ms == 0:
        return _second(whole) + "Z"
    if ms == 1000:
        return _second(whole + 1) + "Z"
    return f"{_second(whole)}.{ms:03d}Z"


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 instant. Raises ValueError when there is no zone or no instant."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone; write 2026-09-21T14:13:20Z")
    return moment.timestamp()


def wire_instant(value: object) -> int | None:
    """Meta's time of an item in whole seconds: a string or number of seconds, or of milliseconds; else None."""
    try:
        number = int(float(value)) if isinstance(value, int | float) else int(str(value))
    except (ValueError, OverflowError):
        return None
    if number > MS_THRESHOLD:
        number //= 1000
    return number if 0 < number < MS_THRESHOLD else None
