"""What a sandbox is started with: where it listens, whom it calls, which businesses live in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.sandbox.faults import Faults

DEFAULT_SECRET = "coexist-sandbox-secret-0123456789abcdef"  # noqa: S105 - a well-known value, for a sandbox only
DEFAULT_TOKEN = "SANDBOX-TOKEN"  # noqa: S105 - as above
DEFAULT_VERIFY_TOKEN = "coexist-sandbox"  # noqa: S105 - as above
DEFAULT_PORT = 8082
DEFAULT_SEED = 7


@dataclass(frozen=True, slots=True)
class Number:
    """A business number: its Graph id, its WABA, the digits that people dial and the name they see."""

    phone_number_id: str = "106540352242922"
    waba: str = "700000000000001"
    display: str = "34910000001"
    name: str = "Boutique Nord"


def make_numbers(count: int) -> tuple[Number, ...]:
    """Return `count` business numbers, the default one first, two to a WABA."""
    first = Number()
    rest = (
        Number(
            phone_number_id=str(int(first.phone_number_id) + n),
            waba=str(int(first.waba) + n // 2),
            display=str(int(first.display) + n),
            name=f"Boutique {n + 1}",
        )
        for n in range(1, count)
    )
    return (first, *rest)


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Everything a sandbox needs to start.

    `port` 0 means any free one. Without `webhook_url` updates wait until one is set over the control API.
    The same `seed` and the same calls give the same message ids; a receiver that kept its data from an
    earlier run with that seed will therefore see repeats.
    `autoplay_per_s` above 0 starts people talking at once, at that many messages a second.
    `ledger_items_max`: 0 keeps every item, else the oldest acknowledged ones go. `chat_messages_max`: what each
    chat remembers, 0 everything; older messages can no longer be edited or deleted.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    webhook_url: str | None = None
    app_secret: str = DEFAULT_SECRET
    verify_token: str = DEFAULT_VERIFY_TOKEN
    access_token: str = DEFAULT_TOKEN
    seed: int = DEFAULT_SEED
    numbers: tuple[Number, ...] = (Number(),)
    faults: Faults = field(default_factory=Faults)
    autoplay_per_s: float = 0.0
    autoplay_echoes_ratio: float = 0.4
    autoplay_customers: int = 5
    ledger_items_max: int = 0
    chat_messages_max: int = 1000
