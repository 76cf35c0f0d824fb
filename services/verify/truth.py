"""What must be equal: of a message as it is stored and as its facts tell it, and of a conversation.

Left out is whatever follows from the clock, from the order in which inputs happened to be read, or from settings that
may have changed: timers, versions, names, what still waits, and whose an echo was taken to be without proof.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from echo_sync.message import API, Message, historical, origin
from schemas.ports import Event
from schemas.states import Conversation

Truth = dict[str, Any]
BY_SETTINGS = frozenset({"automatic"})
"""What settings decide, which may have been others when it was read."""
AUTHORSHIP = BY_SETTINGS | {"origin", "command_id", "author"}


def is_settled(message: Message) -> bool:
    """Nothing about it waits for a timer."""
    return message.wake_at is None


def is_guessed(message: Message) -> bool:
    """An echo taken for one of our sends by its words: the moment decides, until there is proof."""
    return bool(message.matched) and not message.sources & API


def of_message(message: Message) -> Truth:
    """A stored message."""
    truth: Truth = {"statuses": sorted(message.statuses), "current": message.current, "added": message.added}
    if not message.added:
        return truth
    ours, edited = origin(message) == "api", message.edit_id and not message.revoked_at
    return truth | {
        "origin": origin(message),
        "direction": message.direction,
        "historical": historical(message),
        "revoked": bool(message.revoked_at),
        "content": _content(message.kind, message.content),
        "edit": _content(message.edit_kind or message.kind, message.edit_content) if edited else None,
        "command_id": message.command_id if ours else "",
        "author": message.author if ours else "",
        "automatic": message.automatic,
    }


def without(truth: Truth, names: Iterable[str]) -> Truth:
    """A message but for some of what is known of it."""
    return {name: value for name, value in truth.items() if name not in names}


def of_conversation(state: Conversation) -> Truth:
    """A stored conversation. Until when a claim holds depends on a setting, and who owns it now on the clock."""
    if state.merged_into:
        return {"merged_into": state.merged_into}
    fields = ("number", "wa_id", "user_id", "assignee", "window_until", "last_inbound_at", "last_outbound_at")
    return {
        **{field: getattr(state, field) for field in fields},
        "claims": sorted((claim.at, claim.id, claim.who) for claim in state.claims),
        "inbound": state.inbound,
        "ours": sorted(tuple(one) for one in state.ours),
        "answers": sorted(tuple(one) for one in state.answers),
    }


def _content(kind: str, fragment: bytes) -> tuple[str, Any]:
    return kind or "unknown", orjson.loads(fragment or b"{}")


# --- what a reader of `timeline` knows


class Folded:
    """One message after its facts in `seq` order. `place`: of its first fact. `odd`: facts that contradict."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.odd: list[str] = []
        self.conversation = ""
        self._told: Truth = {"added": False, "current": ""}
        self._statuses: set[str] = set()
        self._edit: tuple[Any, Any] | None = None

    def fold(self, event: Event) -> None:
        """Add one fact."""
        data = orjson.loads(event.data or b"{}")
        if event.type == "status.changed":
            self._on_status(event.id.rpartition(":status:")[2], data)
        elif event.type in FOLDS:
            FOLDS[event.type](self, data)

    @property
    def truth(self) -> Truth:
        """What the facts tell."""
        told, base = self._told, {"statuses": sorted(self._statuses), "current": self._told["current"]}
        if not told["added"]:
            return base | {"added": False}
        ours = told["origin"] == "api"
        return base | {
            "added": True,
            "origin": told["origin"],
            "direction": told["direction"],
            "historical": told["historical"],
            "revoked": told["revoked"],
            "content": (told["kind"] or "unknown", told["content"]),
            "edit": None if told["revoked"] else self._edit,
            "command_id": told["command_id"] if ours else "",
            "author": told["author"] if ours else "",
            "automatic": told["automatic"],
        }

    def on_added(self, data: Truth) -> None:
        """`message.added`."""
        if self._told["added"]:
            self.odd.append("was added twice")
        self.conversation = data["conversation_id"]
        self._told |= {"added": True, "revoked": False, "automatic": data.get("automatic_because", "")}
        self._told |= {field: data[field] for field in ("origin", "direction", "historical", "kind", "content")}
        self._told |= {field: data.get(field, "") for field in ("command_id", "author")}

    def on_completed(self, data: Truth) -> None:
        """`message.completed`."""
        self._must_stand("completed")
        fields = ("origin", "direction", "historical", "kind", "content", "command_id", "author")
        self._told |= {field: data[field] for field in fields if field in data}
        if "possibly_automatic" in data:
            self._told["automatic"] = data.get("automatic_because", "")

    def on_edited(self, data: Truth) -> None:
        """`message.edited`."""
        self._must_stand("edited")
        self._edit = (data["kind"] or "unknown", data["content"])

    def on_revoked(self, data: Truth) -> None:
        """`message.revoked`."""
        self._must_stand("revoked")
        self._told["revoked"] = True

    def _on_status(self, key: str, data: Truth) -> None:
        if key in self._statuses:
            self.odd.append("was told a status twice")
        self._statuses.add(key)
        self._told["current"] = data["current"]

    def _must_stand(self, what: str) -> None:
        if not self._told["added"]:
            self.odd.append(f"was {what} before it was added")
            self._told |= {"added": True, "revoked": False, "automatic": "", "command_id": "", "author": ""}
            self._told |= {"origin": "", "direction": "", "historical": False, "kind": "", "content": None}


FOLDS: Mapping[str, Callable[[Folded, Truth], None]] = {
    "message.added": Folded.on_added,
    "message.completed": Folded.on_completed,
    "message.edited": Folded.on_edited,
    "message.revoked": Folded.on_revoked,
}
