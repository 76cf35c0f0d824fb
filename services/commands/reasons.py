"""What a reason of a send means and what to do about it, for the terminal: the texts that the operator page has."""

from functools import lru_cache

import orjson

from services.console.assets import asset

PAGE = "i18n/en.json"


def meaning(reason: str) -> str:
    """In words, the code beside it; the code alone, or the number of an attempt, where nobody has put it into words."""
    words = _texts().get(f"reason_{reason}")
    return f"{words} ({reason})" if words else reason


def fix(reason: str) -> str:
    """What to do about it, as a sentence; empty where there is nothing to do."""
    return _texts().get(f"fix_{reason}", "")


@lru_cache(1)
def _texts() -> dict[str, str]:
    page = asset(PAGE)
    texts: dict[str, str] = orjson.loads(page.body) if page is not None else {}
    return texts
