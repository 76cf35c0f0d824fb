"""The trouble a sandbox makes: every habit of Meta that can be turned up, down or off while it runs."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Millis = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]
MediaTrouble = Literal[
    "", "expired", "too_large", "endless", "slow", "cut", "redirect", "error500", "wrong_hash"
]  # fmt: skip
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class FaultError(ValueError):
    """A setting that does not exist or a value it cannot take; the text says which and what would do."""


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """The settings. Probabilities are per update (webhooks) or per request (sends); 0 turns a habit off."""

    # Webhooks (Meta contract 1.3 to 1.5).
    duplicate_p: Probability = 0.02  # a second delivery although the first succeeded
    duplicate_concurrent_p: Probability = 0.3  # of those: at the same moment instead of later
    duplicate_ms: Millis = 400  # a later repeat comes within this time
    reorder_p: Probability = 0.05  # held back, so that later updates overtake it
    reorder_ms: Millis = 300
    drop200_p: Probability = 0.01  # our 200 got lost on its way to Meta: delivered again
    delay_ms: Millis = 0  # every update waits this long
    batch_p: Probability = 0.5  # updates due together travel in one POST
    batch_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    batch_wait_ms: Millis = 0  # updates wait for the end of such a slice of time, so that batches form
    side_by_side_p: Probability = 0.05  # messages and statuses in one value
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=512)] = 16
    webhook_timeout_ms: Annotated[float, msgspec.Meta(ge=10, le=60_000)] = 5000
    retry_first_ms: Millis = 50
    retry_max_ms: Millis = 2000
    retry_horizon_s: Annotated[float, msgspec.Meta(ge=0)] = 604_800  # seven days, then Meta gives up
    paused: bool = False  # Meta is down: updates wait

    # Sends (Meta contract 5.4, 6.5, 6.7, 7.1, 8.3).
    cut_before_accept_p: Probability = 0
    cut_after_accept_p: Probability = 0
    error500_after_accept_p: Probability = 0  # an empty 500 although the message goes out
    unparsable_200_p: Probability = 0  # accepted, answered with something that is not JSON
    error131000_p: Probability = 0
    failed_status_p: Probability = 0  # accepted, later `failed` with 131026
    graph_delay_ms: Millis = 0
    token_expired: bool = False
    api_echo_p: Probability = 0.5  # our own API send comes back as an echo
    status_before_response_p: Probability = 0.05  # statuses and echo leave before the answer to the send
    status_delay_ms: Millis = 60  # between accepted, sent, delivered and read
    read_p: Probability = 0.7
    echo_statuses_p: Probability = 0  # statuses for messages written in the app (Meta contract 5.5)
    number_mps: Count = 20  # messages a second, in and out, per coexistence number; 0 is no limit
    pair_interval_ms: Millis = 6000  # one message to the same person per this time; 0 is no limit
    pair_burst: Count = 45
    templates_strict: bool = False  # unknown template names are refused with 132001
    history_messages: Count = 60  # what a history sync brings
    history_declined: bool = False  # the business shares no history
    sync_late: bool = False  # the 24 hours for a sync are over
    on_biz_app: bool = True  # numbers are in the Business App, too
    media_missing_p: Probability = 0  # a media URL answers 404 this time
    media_trouble: MediaTrouble = ""  # what goes wrong with every download


def patch(faults: Faults, changes: dict[str, Any]) -> None:
    """Change some settings in place, all or none; raises FaultError."""
    known = {name: getattr(faults, name) for name in faults.__struct_fields__}
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise FaultError(f"{name} is not a setting." + (f" Did you mean {near[0]}?" if near else ""))
    try:
        checked = msgspec.convert(known | changes, Faults)
    except msgspec.ValidationError as error:
        raise FaultError(str(error)) from error
    for name in changes:
        setattr(faults, name, getattr(checked, name))


def as_dict(faults: Faults) -> dict[str, Any]:
    """Return the settings by name."""
    return msgspec.structs.asdict(faults)


def calm() -> Faults:
    """Return settings without trouble: one delivery per update, alone in its POST, at once, in order."""
    return Faults(
        duplicate_p=0,
        reorder_p=0,
        drop200_p=0,
        batch_p=0,
        side_by_side_p=0,
        status_before_response_p=0,
        api_echo_p=0,
    )
