"""The door of the admin API: what callers write is checked here in full, before any of it is written down.

On the topics themselves a field that is not known is ignored, for whoever writes there may be newer than we are. A
caller of the API is told at once instead: `expire_at` would otherwise be a message that never expires. A body is read
no further than its cap.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import HTTPException
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.fields import name_of

BODY_BYTES_MAX = 1024 * 1024
"""The longest command has a text of 4,096 characters or a template's components: a few KiB."""
OWN_CAP = frozenset({"/v1/media"})
"""Paths whose bodies are files; they are streamed under the caps that Meta has for them."""
TOO_LARGE = {"title": "the body is over 1 MiB", "fix": "Send less at once; files go to /v1/media."}
CLOSE = {"Connection": "close"}
MEND = "Mend the field and send it again."


def refuse_strays(given: Iterable[str], known: Iterable[str], where: str = "", else_: str = "") -> None:
    """Raise HTTPException 422 for the first name that is not known, with the nearest one that is, or `else_`."""
    names = sorted(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            fix = f"Did you mean {near[0]}? {MEND}" if near else else_ or f"There are: {', '.join(names)}."
            raise HTTPException(422, {"title": f"{where}{name_of(name)} is not a field of this command", "fix": fix})


def checked(kind: str, data: Mapping[str, Any], unwritten: str = "") -> None:
    """Raise HTTPException 422 for data that is no event of this kind.

    Names the field as the caller wrote it: without `unwritten`, which is how its path begins only with us.
    """
    from schemas.events import DATA, explain  # noqa: PLC0415 - the models are slow to import

    try:
        DATA[kind].model_validate(data)
    except ValidationError as error:
        raise HTTPException(422, {"title": explain(error).removeprefix(unwritten), "fix": MEND}) from None


class Bounded:
    """An ASGI application whose requests have bodies of at most `BODY_BYTES_MAX`.

    One that announces more is refused unread; of one that announces nothing, reading stops at the cap, and what waits
    for it is told that the client has gone. `refuse` answers, and ends the connection, so the rest is not read either.
    """

    def __init__(self, app: ASGIApp, refuse: ASGIApp) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in OWN_CAP:
            await self._app(scope, receive, send)
            return
        if any(name == b"content-length" and _length(value) > BODY_BYTES_MAX for name, value in scope["headers"]):
            await self._refuse(scope, receive, send)
            return
        left, answering = BODY_BYTES_MAX, False

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def answer(message: Message) -> None:
            nonlocal answering
            if left >= 0 or answering:
                answering = True
                await send(message)

        await self._app(scope, bounded, answer)
        if left < 0 and not answering:
            await self._refuse(scope, receive, send)


def _length(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < 19 else BODY_BYTES_MAX + 1
