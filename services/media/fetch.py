"""Fetch one media object from Meta: ask Graph for its URL, download it under bounds, believe nothing unchecked.

The order of Meta contract 6.6: an id lives seven days, the URL that it is exchanged for five minutes, so a URL that is
gone is asked for anew.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from echo_sync.media import Fetch
from schemas.fragments import object_of
from services.media.address import Forbidden, Resolve, bears_token, checked, resolved, target
from services.media.store import CHUNK_BYTES, Part
from services.media.type import believed

BYTES_MAX = 100 << 20
"""Meta's own limit of what may be sent to us (Meta contract 6.6)."""
DEADLINE_S = 30.0
URLS_MAX = 2
HOPS_MAX = 3
DIGEST_BYTES = 32
GONE = frozenset({404, 410})
USER_AGENT = "coexist"
"""Some clients are blocked without one (Meta contract 6.6)."""


class Missed(Exception):
    """An attempt that brought nothing; `reason` in snake case."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _UrlGone(Exception):
    """The URL does not lead to the media any more."""


@dataclass(frozen=True, slots=True)
class _Lead:
    """Graph's answer for a media id."""

    url: str
    sha256: str
    mime_type: str
    bytes: int


class Fetcher:
    """Fetches over one httpx client. `graph_url` without a trailing slash; `resolve` None where a proxy resolves."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        graph_url: str,
        version: str,
        *,
        resolve: Resolve | None = resolved,
        deadline_s: float = DEADLINE_S,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._client = client
        self._graph = httpx.URL(graph_url)
        self._root = f"{graph_url}/{version}"
        self._resolve = resolve
        self._deadline_s = deadline_s
        self._bytes_max = bytes_max

    async def fetch(self, wanted: Fetch, token: str, part: Part) -> str:
        """Download into `part`, check it, and return its type. Raises Missed."""
        try:
            async with asyncio.timeout(self._deadline_s):
                lead = await self._followed(wanted, token, part)
        except TimeoutError:
            raise Missed("too_slow") from None
        except Forbidden as problem:
            raise Missed(problem.reason) from None
        except (httpx.HTTPError, OSError):
            raise Missed("unreachable") from None
        if not _is_what_meta_says(part.sha256, (wanted.media.sha256, lead.sha256)):
            raise Missed("wrong_hash")
        mime_type = believed(wanted.kind, wanted.media.mime_type or lead.mime_type, part.head)
        if mime_type is None:
            raise Missed("wrong_type")
        return mime_type

    async def _followed(self, wanted: Fetch, token: str, part: Part) -> _Lead:
        for _ in range(URLS_MAX):
            lead = await self._lead(wanted, token)
            if lead.bytes > self._bytes_max:
                raise Missed("too_large")
            try:
                await self._download(lead.url, token, part)
            except _UrlGone:
                continue
            return lead
        raise Missed("url_gone")

    async def _lead(self, wanted: Fetch, token: str) -> _Lead:
        response = await self._client.get(
            f"{self._root}/{wanted.media.id}",
            params={"phone_number_id": wanted.number},
            headers={"Authorization": f"Bearer {token}"},
        )
        told = object_of(response.content)
        if response.status_code == httpx.codes.OK and isinstance(told.get("url"), str):
            size = told.get("file_size")
            bytes_ = int(size) if isinstance(size, int) or (isinstance(size, str) and _SIZE.fullmatch(size)) else 0
            return _Lead(told["url"], str(told.get("sha256") or ""), str(told.get("mime_type") or ""), bytes_)
        raise Missed(_refusal(response.status_code, told))

    async def _download(self, url: str, token: str, part: Part) -> None:
        asked = checked(url, self._graph)
        for _ in range(HOPS_MAX):
            moved_to = await self._hop(asked, token, part)
            if moved_to is None:
                return
            to = checked(str(asked.join(moved_to)), self._graph)
            if to.host != asked.host:
                raise Missed("redirected")
            asked = to
        raise Missed("redirected")

    async def _hop(self, url: httpx.URL, token: str, part: Part) -> str | None:
        """One request. Returns where it was moved to, or None when the body was taken."""
        at = await target(url, self._graph, self._resolve)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **at.headers}
        if bears_token(url, self._graph):
            headers["Authorization"] = f"Bearer {token}"
        async with self._client.stream("GET", at.url, headers=headers, extensions=at.extensions) as response:
            if response.has_redirect_location:
                return response.headers["location"]
            if response.status_code in GONE:
                raise _UrlGone
            if response.status_code != httpx.codes.OK:
                raise Missed("refused")
            async for chunk in response.aiter_raw(CHUNK_BYTES):
                if part.bytes + len(chunk) > self._bytes_max:
                    raise Missed("too_large")
                await asyncio.to_thread(part.write, chunk)
        await asyncio.to_thread(part.flush)
        return None


def _is_what_meta_says(sha256: str, told: tuple[str, ...]) -> bool:
    """Does the digest agree with any that Meta gave? In webhooks it is base64, at the endpoint hex."""
    digests = [digest for text in told if (digest := _digest(text))]
    return not digests or bytes.fromhex(sha256) in digests


def _digest(text: str) -> bytes:
    for decode in _DECODERS:
        try:
            found = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(found) == DIGEST_BYTES:
            return found
    return b""


_SIZE = re.compile(r"[0-9]{1,18}")
_DECODERS: tuple[Callable[[str], bytes], ...] = (bytes.fromhex, lambda text: base64.b64decode(text, validate=True))


def _refusal(status: int, told: dict[str, Any]) -> str:
    error = told.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if status == httpx.codes.UNAUTHORIZED or code == 190:
        return "token_refused"
    return "unknown_id" if status in GONE or code == 100 else "refused"
