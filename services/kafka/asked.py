"""Questions to the broker that several ask at once: one request answers them all."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Ask = Callable[[set[Any]], Awaitable[dict[Any, int]]]


class Asked:
    """Answers many who ask at once with one request; nobody gets an answer that was under way when they asked."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: deque[tuple[Any, asyncio.Future[int]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def get(self, wanted: Sequence[Any]) -> dict[Any, int]:
        """The answers for `wanted`. Raises what the request raised."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[int]] = [loop.create_future() for _ in wanted]
        self._waiting.extend(zip(wanted, futures, strict=True))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        return dict(zip(wanted, await asyncio.gather(*futures), strict=True))

    async def close(self) -> None:
        """Answer nobody any more: what is under way ends, with the connection that it may be making."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for _, future in self._waiting:
            future.cancel()

    async def _run(self) -> None:
        while self._waiting:
            taken = list(self._waiting)
            self._waiting.clear()
            try:
                found = await self._ask({wanted for wanted, _ in taken})
            except Exception as problem:  # noqa: BLE001 - handed to those who asked
                for _, future in taken:
                    if not future.done():
                        future.set_exception(problem)
            else:
                for wanted, future in taken:
                    if not future.done():
                        future.set_result(found[wanted])
