"""The media worker: performs the calls of `media.fetching`, and uploads what is to be sent.

Whatever came of an attempt is told on `inbound`, where both who decides about media and who keeps the messages read
it. An attempt that ends without a word, by a crash or a full disk, is found by its timer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import structlog

from echo_sync.media import ATTEMPT_S, Fetch
from schemas import items
from schemas.fragments import object_of
from schemas.items import Item, Media
from schemas.ports import Event, EventLog, Lease, LogUnavailable
from schemas.topics import INBOUND
from services.media.fetch import BYTES_MAX, Fetcher, Missed
from services.media.store import MediaStore, Part

CALL_S = ATTEMPT_S - 20
"""What fetching and keeping may take together: an object store may be slow, too."""
UPLOAD_S = 120.0
HOW_TO_SET = (
    "Set COEXIST_META_ACCESS_TOKEN, or give the number its own: `coexist numbers add NUMBER --token-file FILE`."
)
UPLOAD_BYTES_MAX = {"image": 5 << 20, "audio": 16 << 20, "video": 16 << 20}
"""By the first word of the type (Meta contract 6.6); anything else is a document."""

log = structlog.get_logger()


class Refused(Exception):
    """An upload that Meta or we refuse. `status` is HTTP's."""

    def __init__(self, status: int, title: str, fix: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.fix = fix


class MediaWorker:
    """Fetches and uploads. `token_of` gives a number's access token, or None; `kept` is told bytes and seconds."""

    def __init__(
        self,
        log_: EventLog,
        store: MediaStore,
        fetcher: Fetcher,
        client: httpx.AsyncClient,
        graph_root: str,
        token_of: Callable[[str], Awaitable[str | None]],
        clock: Callable[[], float],
        kept: Callable[[int, float], None],
    ) -> None:
        self.store = store
        self._log = log_
        self._fetcher = fetcher
        self._client = client
        self._root = graph_root
        self._token_of = token_of
        self._clock = clock
        self._kept = kept
        self._working: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def __call__(self, call: Fetch, lease: Lease) -> None:
        """Perform one attempt. No fence is needed: what is done twice is done once, by content and by event id."""
        task = asyncio.current_task()
        if self._closed or task is None:
            return
        self._working.add(task)
        try:
            await self._attempt(call)
        except LogUnavailable:
            log.warning("media_untold", reason="tried again later")
        finally:
            self._working.discard(task)

    async def close(self) -> None:
        """Drop what is under way, and begin nothing more; the next start finds it."""
        self._closed = True
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _attempt(self, call: Fetch) -> None:
        started = self._clock()
        try:
            async with asyncio.timeout(CALL_S):
                media = await self._fetched(call)
        except Missed as missed:
            await self._tell(call, "media.missed", Media(id=call.media.id), missed.reason)
        except TimeoutError:
            await self._tell(call, "media.missed", Media(id=call.media.id), "too_slow")
        except OSError:
            log.warning("media_not_kept", reason="the store refused it")
            await self._tell(call, "media.missed", Media(id=call.media.id), "not_kept")
        else:
            self._kept(media.bytes, self._clock() - started)
            await self._tell(call, "media.stored", media)

    async def _fetched(self, call: Fetch) -> Media:
        token = await self._token_of(call.number)
        if token is None:
            raise Missed("no_token")
        with Part(self.store.incoming) as part:
            mime_type = await self._fetcher.fetch(call, token, part)
            ref = await self.store.keep(part.path, part.sha256)
            return Media(id=call.media.id, ref=ref, sha256=part.sha256, bytes=part.bytes, mime_type=mime_type)

    async def _tell(self, call: Fetch, kind: str, media: Media, reason: str = "") -> None:
        now = self._clock()
        item = Item(
            number=call.number,
            message_id=call.message_id,
            attempt=call.attempt,
            media=media,
            reason=reason,
            at=now,
            received_at=now,
        )
        event_id = f"{kind}:{call.message_id}:{media.id}:{media.sha256[:16] or call.attempt}"
        event = Event(event_id, kind, call.number, items.encode(item), now, now, call.message_id)
        await self._log.append([(INBOUND, event)])

    # --- uploads

    async def upload(self, number: str, mime_type: str, chunks: AsyncIterator[bytes]) -> str:
        """Upload a file for sending and return Meta's id of it, which lives 30 days. Raises Refused."""
        token = await self._token_of(number)
        if token is None:
            raise Refused(409, "no access token", HOW_TO_SET)
        bytes_max = UPLOAD_BYTES_MAX.get(mime_type.partition("/")[0], BYTES_MAX)
        with Part(self.store.incoming) as part:
            async for chunk in chunks:
                if part.bytes + len(chunk) > bytes_max:
                    raise Refused(413, "the file is too large", f"Meta takes up to {bytes_max >> 20} MB of this type.")
                await asyncio.to_thread(part.write, chunk)
            part.flush()
            if not part.bytes:
                raise Refused(422, "the file is empty", "Send the file as the body, with its Content-Type.")
            return await self._post(number, token, mime_type, part)

    async def _post(self, number: str, token: str, mime_type: str, part: Part) -> str:
        with part.path.open("rb") as file:
            try:
                response = await self._client.post(
                    f"{self._root}/{number}/media",
                    headers={"Authorization": f"Bearer {token}"},
                    data={"messaging_product": "whatsapp", "type": mime_type},
                    files={"file": ("file", file, mime_type)},
                    timeout=UPLOAD_S,
                )
            except httpx.HTTPError:
                raise Refused(503, "Meta could not be reached", "Send it again in a moment.") from None
        return _uploaded(response)


def _uploaded(response: httpx.Response) -> str:
    told = object_of(response.content)
    if isinstance(told.get("id"), str):
        return str(told["id"])
    error = told.get("error")
    code = error.get("code") if isinstance(error, dict) else response.status_code
    raise Refused(502, f"Meta refused the file ({code})", "Look at its type, its size, the number and the token.")
