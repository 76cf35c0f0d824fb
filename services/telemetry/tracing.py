"""Tracing: the `traceparent` of whoever calls goes on through the topics to the send that follows (W3C Trace Context).

That costs nothing worth measuring and is always done. Spans are made only where an OpenTelemetry collector is named by
the standard variable OTEL_EXPORTER_OTLP_ENDPOINT and the extra `otel` is installed: then `services.telemetry.spans`
takes the place of `Tracing`. It is never made the process's own provider, so no library begins to trace by itself.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import structlog
from msgspec.structs import replace

from ingest.bodies import Receive
from ingest.webhook import Append, Scope
from ingest.webhook import Send as Answer
from schemas.ports import Event
from services.commands.arguments import is_address
from services.extras import OTEL, install
from services.runner import Observer
from services.settings import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_headers: ContextVar[Sequence[tuple[bytes, bytes]]] = ContextVar("headers", default=())

log = structlog.get_logger()


def traceparent(text: str | None) -> str:
    """The trace that a caller gave, empty where it gave none that can be continued."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else ""


class Hop:
    """One piece of work of a trace; what it appends carries `trace`."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def end(self, outcome: str, error: str) -> None:
        """Say what came of it, in words of closed sets; `error` is empty where nothing failed."""


class Tracing:
    """Hands traces on, and makes no spans."""

    def door(self, app: Any) -> Any:
        """An ASGI application whose appends know the headers of their request."""

        async def remembering(scope: Scope, receive: Receive, send: Answer) -> None:
            _headers.set(scope.get("headers", ()))
            await app(scope, receive, send)

        return remembering

    def appending(self, append: Append) -> Append:
        """The append of a webhook whose events carry its trace."""

        async def traced(entries: Sequence[tuple[str, Event]]) -> None:
            trace = self.of_request()
            await append([(topic, replace(event, trace=trace)) for topic, event in entries] if trace else entries)

        return traced

    def of_request(self) -> str:
        """The trace of the webhook that is being taken."""
        for name, value in _headers.get():
            if name == b"traceparent":
                return traceparent(value.decode("latin-1"))
        return ""

    def observing(self, observer: Observer) -> Observer:
        """Who hears of committed batches."""
        return observer

    @contextlib.contextmanager
    def command(self, route: str, topic: str, trace: str) -> Iterator[str]:
        """While a command is written: the trace that it carries."""
        yield trace

    @contextlib.contextmanager
    def request(self, trace: str) -> Iterator[Hop]:
        """While a send is on its way to Graph."""
        yield Hop(trace)

    async def close(self) -> None:
        """Hand over what was not exported yet, within a second."""


def tracing_of(environment: Mapping[str, str], system: str, prefix: str) -> Tracing:
    """Spans where a collector is named, else none. `system` is what the topics stand on, `prefix` that of their names.

    Raises SettingsError like `is_wanted`.
    """
    if not is_wanted(environment):
        return Tracing()
    try:
        from services.telemetry.spans import Spans, exporting  # noqa: PLC0415 - an optional extra
    except ImportError:
        log.warning("tracing_off", fix=f"{install(OTEL)} Or unset OTEL_EXPORTER_OTLP_ENDPOINT.")
        return Tracing()
    return Spans(exporting(), system, prefix)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a collector. Raises SettingsError for no address, and a protocol not spoken here.

    The address is not quoted: collectors' often carry a key.
    """
    named = next((name for name in ENDPOINTS if environment.get(name)), "")
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not named or disabled or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    if not is_address(environment[named]):
        raise SettingsError(f"{named} must be an address like http://collector:4318.")
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, but traces leave by {PROTOCOL} alone. "
            f"Set it to {PROTOCOL}, and OTEL_EXPORTER_OTLP_ENDPOINT to the collector's HTTP port (4318)."
        )
    return True
