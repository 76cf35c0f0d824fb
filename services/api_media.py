"""`/v1/media`: a file goes to Meta, so that a command can carry its id."""

import re
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from services.media import Refused
from services.running import App

TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(; ?codecs=[a-z0-9.,-]+)?", re.IGNORECASE)

Number = Annotated[str, Query(pattern="^[0-9A-Za-z]{1,64}$")]


def add(api: FastAPI, app: App) -> None:
    """Add the route."""

    @api.post("/v1/media", status_code=201)
    async def post_media(request: Request, number: Number) -> JSONResponse:
        """Upload the body, of the type that Content-Type says, for messages of `number`: `{"id": …}`, for 30 days."""
        mime_type = request.headers.get("content-type", "")
        if not TYPE.fullmatch(mime_type):
            fix = "Send the file itself as the body, with its type as Content-Type."
            raise HTTPException(415, {"title": "not the type of a file", "fix": fix})
        if app.media is None:
            raise HTTPException(503, {"title": "no media here", "fix": "Ask a process that runs the role media."})
        try:
            media_id = await app.media.upload(number, mime_type, request.stream())
        except Refused as refused:
            raise HTTPException(refused.status, {"title": refused.title, "fix": refused.fix}) from None
        return JSONResponse({"id": media_id}, 201)
