"""`coexist trigger`: one signed webhook to any receiver."""

from collections.abc import Iterator

import click
import httpx

from services.commands.failure import UNREACHABLE, Failure
from services.sandbox.config import DEFAULT_SECRET
from services.sandbox.triggers import TRIGGERS, trigger_body
from services.sandbox.wire import sign


def trigger(name: str, url: str, secret: str, *, number: str, contact: str, text: str, times: int) -> Iterator[str]:
    """Post the webhook `times` times; yields each answer's status as text. Raises click errors in one sentence."""
    if name not in TRIGGERS:
        raise click.UsageError(f"{name} is not a trigger. There are: {', '.join(sorted(TRIGGERS))}.")
    body = trigger_body(name, number, text, contact=contact)
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": sign(body, (secret or DEFAULT_SECRET).encode()),
    }
    for _ in range(times):
        try:
            yield str(httpx.post(url, content=body, headers=headers, timeout=10).status_code)
        except httpx.HTTPError as problem:
            sentence = f"{url} could not be reached ({type(problem).__name__}). Is it running?"
            raise Failure(sentence, UNREACHABLE) from None
