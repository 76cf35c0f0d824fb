"""The public listener: the webhook in front, FastAPI behind it for everything else."""

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from ingest.bodies import Receive
from ingest.problem import PROBLEM_JSON, PROBLEMS, problem
from ingest.webhook import PATH, Scope, Send, Webhook


class PublicApp:
    """An ASGI application. The way is chosen by `scope["path"]`: a Host header can poison a URL, never a path."""

    def __init__(self, webhook: Webhook, rest: FastAPI) -> None:
        self._webhook = webhook
        self.rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or one event of another protocol."""
        if scope["type"] == "http" and scope["path"] == PATH:
            await self._webhook(scope, receive, send)
        elif scope["type"] != "http" or not await self._webhook.elsewhere(scope, send):
            await self.rest(scope, receive, send)


def create_app(webhook: Webhook) -> PublicApp:
    """The application of the public listener. It shows no documentation and answers 404 to all it does not know."""
    rest = FastAPI(title="Coexist", docs_url=None, redoc_url=None, openapi_url=None)
    rest.add_exception_handler(HTTPException, _plainly)
    return PublicApp(webhook, rest)


def _plainly(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    body = PROBLEMS.get(status) or problem(status, "This did not work", "See the log of the service.")
    return Response(body, status, media_type=PROBLEM_JSON.decode())
