"""What may stand behind an option: values are checked before a command begins, so nothing is left half done."""

import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click

from schemas.phones import digits

SEED = click.IntRange(-(1 << 63), (1 << 63) - 1)
TIMES = click.IntRange(0, 10_000)
ID_CHARS_MAX = 20
"""Meta's ids are 64-bit numbers."""
PHONE_DIGITS = range(5, 16)
"""E.164 ends at 15 digits."""


def is_address(url: str) -> bool:
    """Whether this is an HTTP address with a host, and a port that there can be."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return whole and re.search(r"\s", url) is None


@dataclass
class Amount(click.ParamType[Any]):
    """A number of something: finite, and not below `least`, or above it where `least` itself means nothing."""

    name: str
    least: float = 0.0
    beyond: bool = False
    most: float = math.inf

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises click.BadParameter."""
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        low = found <= self.least if self.beyond else found < self.least
        if not math.isfinite(found) or low or found > self.most:
            bound = f"above {self.least:g}" if self.beyond else f"of {self.least:g} or more"
            bound += f", up to {self.most:g}" if math.isfinite(self.most) else ""
            self.fail(f"{value} is not a number {bound}.", param, ctx)
        return found


class MetaId(click.ParamType[Any]):
    """An id that Meta has given: digits only."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text; nothing where nothing is given. Raises click.BadParameter."""
        text = str(value)
        if text and not (text.isascii() and text.isdecimal() and len(text) <= ID_CHARS_MAX):
            self.fail(f"{text} is no id of Meta's: those are digits, as `coexist numbers list` shows them.", param, ctx)
        return text


class Phone(click.ParamType[Any]):
    """A phone number, however it is written."""

    name = "phone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it came. Raises click.BadParameter."""
        if len(digits(str(value))) not in PHONE_DIGITS:
            self.fail("a phone number has 5 to 15 digits, with its country code.", param, ctx)
        return str(value)


class Letter(click.ParamType[Any]):
    """The id of a dead letter: its place."""

    name = "letter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as text. Raises click.BadParameter."""
        if re.fullmatch(r"[0-9]{1,4}-[0-9]{1,13}", str(value)) is None:
            self.fail(f"{value} is no id like 3-17: `coexist dead-letters list` shows them.", param, ctx)
        return str(value)


class Url(click.ParamType[Any]):
    """An HTTP address."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address; nothing where nothing is given. Raises click.BadParameter."""
        if value and not is_address(str(value)):
            self.fail(f"{value} is no address like https://host/path or http://host:port/path.", param, ctx)
        return str(value)


SECONDS = Amount("seconds")
DURATION = Amount("seconds", beyond=True)
TALK = Amount("a second", most=1000)
RATE = Amount("a second", beyond=True, most=1000)
META_ID = MetaId()
PHONE = Phone()
URL = Url()
LETTER = Letter()
