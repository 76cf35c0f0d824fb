"""`GET /sandbox` in `coexist demo`: the sandbox's page beside our own timeline, its calls handed on to its process."""

from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from sender.graph import tls
from services.running import App
from services.sandbox.assets import PAGE_HEADERS, page_file

METHODS = ["GET", "POST", "DELETE"]
CONNECT_S = 5.0


def add(api: FastAPI, app: App) -> None:
    """Add the routes; they answer 404 unless a sandbox belongs to this app."""
    client = httpx.AsyncClient(verify=tls(), timeout=httpx.Timeout(None, connect=CONNECT_S), trust_env=False)
    app.closing.append(client.aclose)

    def sandbox_url() -> str:
        if not app.sandbox_url:
            raise HTTPException(404, {"title": "no sandbox here", "fix": "Start `coexist demo`."})
        return app.sandbox_url

    @api.get("/sandbox", include_in_schema=False)
    @api.get("/sandbox/static/{path:path}", include_in_schema=False)
    async def page(path: str = "index.html") -> Response:
        sandbox_url()
        found = page_file(path)
        if found is None:
            raise HTTPException(404, "no such file")
        return Response(found[0], media_type=found[1], headers=PAGE_HEADERS)

    @api.api_route("/sandbox/api/{path:path}", methods=METHODS, include_in_schema=False)
    async def hand_on(path: str, request: Request) -> Response:
        url = httpx.URL(f"{sandbox_url()}/sandbox/api/{path}", query=request.url.query.encode())
        headers = {name: request.headers[name] for name in ("content-type", "last-event-id") if name in request.headers}
        asked = client.build_request(request.method, url, headers=headers, content=await request.body())
        try:
            answer = await client.send(asked, stream=True)
        except httpx.HTTPError:
            raise HTTPException(502, {"title": "the sandbox is gone", "fix": "Start the demo again."}) from None
        return StreamingResponse(_body(answer), answer.status_code, media_type=answer.headers.get("content-type"))


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
