"""What the admin listener does with access tokens: they go in, and never come out."""

import re
from typing import Any

from fastapi import HTTPException

from services.access_tokens import Busy
from services.running import App
from services.sealing.keys import CannotSeal

TOKEN = re.compile(r"[!-~]{1,4096}")
AGAIN = {"title": "the store is busy", "fix": "Try it again in a moment."}


async def keep_token(app: App, number: str, token: Any) -> None:
    """Seal and keep it. Raises HTTPException 422, 409 where there is no key, or 503."""
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        fix = "Give Meta's access token as text, without spaces around it."
        raise HTTPException(422, {"title": "token: not an access token", "fix": fix})
    try:
        await app.tokens.keep(number, token)
    except CannotSeal as problem:
        raise HTTPException(409, {"title": "the token cannot be kept safely", "fix": str(problem)}) from None
    except Busy:
        raise HTTPException(503, AGAIN) from None


async def drop_token(app: App, number: str) -> None:
    """Take it away. Raises HTTPException 503."""
    try:
        await app.tokens.drop(number)
    except Busy:
        raise HTTPException(503, AGAIN) from None


async def whose_token(app: App, number: str) -> str:
    """Which token a number uses: its own, the installation's default, none, or one that is sealed under a lost key."""
    own = await app.tokens.own(number)
    if own is not None:
        return "own" if own else "sealed"
    return "default" if await app.tokens.of(number) is not None else "none"
