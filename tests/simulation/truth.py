"""What must be the same whatever the order: the canonical form of a state, and what a reader folds from the facts."""

import orjson

from echo_sync.message import historical, origin
from schemas.states import CONVERSATIONS as CONVERSATIONS_NAME
from schemas.states import MESSAGES, owner_now
from schemas.topics import CONVERSATIONS, TIMELINE


def canonical(memory, instants):
    """Everything that design 6.3 lists, free of arrival order; `instants`: when to ask for the owner."""
    messages = stored(memory)
    groups = _groups(memory, messages)
    people = {group: _conversation(memory, conversations, instants) for group, conversations in groups.items()}
    added = sorted(event.subject for event in memory.log[TIMELINE] if event.type == "message.added")
    return {"added": added, "messages": messages_only(messages), "conversations": people}


def messages_only(messages):
    return {wamid: {k: v for k, v in told.items() if k != "conversation"} for wamid, told in messages.items()}


def stored(memory):
    """wamid → what we hold of it."""
    found = {}
    for key, state in memory.states[MESSAGES].items():
        if key.startswith("m/"):
            found[state.message_id] = {
                "conversation": state.conversation,
                "added": state.added,
                "statuses": sorted(set(state.statuses)),
                "current": state.current,
            } | (_shown(state) if state.added else {})
    return found


def _shown(state):
    ours = origin(state) == "api"
    shown = (state.edit_kind or state.kind, state.edit_content) if state.edit_id else (state.kind, state.content)
    return {
        "origin": origin(state),
        "direction": state.direction,
        "historical": historical(state),
        "revoked": bool(state.revoked_at),
        "content": None if state.revoked_at else _content(*shown),
        "command_id": state.command_id if ours else "",
        "author": state.author if ours else "",
        "automatic": state.automatic,
    }


def _content(kind, content):
    return kind or "unknown", orjson.loads(content or b"{}")


def _groups(memory, messages):
    """The messages of one conversation, modulo alias → the ids under which its state may be found."""
    by_conversation = {}
    for wamid, told in messages.items():
        if told["added"]:
            home = resolve_alias(memory, told["conversation"])
            by_conversation.setdefault(home, set()).add(wamid)
    return {",".join(sorted(wamids)): home for home, wamids in by_conversation.items()}


def resolve_alias(memory, conversation):
    while (person := memory.states[MESSAGES].get(f"c/{conversation}")) is not None and person.merged_into:
        conversation = person.merged_into
    return conversation


def _conversation(memory, conversation_id, instants):
    state = memory.states[CONVERSATIONS_NAME].get(f"v/{conversation_id}")
    if state is None:
        return None
    assert not state.merged_into
    return {
        "owner": [owner_now(state, instant) for instant in instants],
        "window": state.window_until,
        "assignee": state.assignee,
        "answers": state.answers,
        "received": state.inbound,
    }


# --- what a reader knows


def fold(events):
    """What a reader of `timeline` knows of each message after all facts in `seq` order.

    `message.completed` tells of the message as it was sent; an edit stands above it whatever comes later.
    """
    known = {}
    for event in events:
        data = orjson.loads(event.data or b"{}")
        if event.type == "identity.merged":
            continue
        told = known.setdefault(event.subject, {"added": False, "statuses": set(), "current": ""})
        FOLDS[event.type](told, data)
    return {wamid: _folded(told) for wamid, told in known.items()}


def _on_added(told, data):
    assert not told["added"], "added twice"
    told |= {"added": True, "edit": None, "revoked": False}
    told |= {field: data[field] for field in ("origin", "direction", "historical", "kind", "content")}
    told |= {field: data.get(field, "") for field in ("command_id", "author")}
    told["automatic"] = data.get("automatic_because", "")
    assert bool(told["automatic"]) is data["possibly_automatic"]


def _on_completed(told, data):
    assert told["added"], "completed before it was added"
    fields = ("origin", "direction", "historical", "kind", "content", "command_id", "author")
    told |= {field: data[field] for field in fields if field in data}
    if "possibly_automatic" in data:
        told["automatic"] = data.get("automatic_because", "")
        assert bool(told["automatic"]) is data["possibly_automatic"]


def _on_edited(told, data):
    assert told["added"], "edited before it was added"
    told["edit"] = (data["kind"], data["content"])


def _on_revoked(told, data):
    assert told["added"], "revoked before it was added"
    assert not told["revoked"], "revoked twice"
    told["revoked"] = True


def _on_status(told, data):
    key = "|".join(
        part
        for part in (data["status"], data.get("participant", ""), str((data.get("errors") or [{}])[0].get("code", "")))
        if part
    )
    assert key not in told["statuses"], "a status was told twice"
    told["statuses"].add(key)
    told["current"] = data["current"]


FOLDS = {
    "message.added": _on_added,
    "message.completed": _on_completed,
    "message.edited": _on_edited,
    "message.revoked": _on_revoked,
    "status.changed": _on_status,
}


def _folded(told):
    base = {"added": told["added"], "statuses": sorted(told["statuses"]), "current": told["current"]}
    if not told["added"]:
        return base
    ours = told["origin"] == "api"
    content = told["edit"] or (told["kind"], told["content"])
    return base | {
        "origin": told["origin"],
        "direction": told["direction"],
        "historical": told["historical"],
        "revoked": told["revoked"],
        "content": None if told["revoked"] else content,
        "command_id": told["command_id"] if ours else "",
        "author": told["author"] if ours else "",
        "automatic": told["automatic"],
    }


def fold_conversations(events):
    """The newest data of each conversation, by `version`; None once it was retired."""
    known = {}
    for event in events:
        data = orjson.loads(event.data) if event.data is not None else None
        before = known.get(event.subject)
        if data is None:
            known[event.subject] = None
        elif before is None or data["version"] > before["version"]:
            known[event.subject] = data
    return known


def assert_folds(memory):
    """Folding what was published gives what is stored."""
    folded, held = fold(memory.log[TIMELINE]), messages_only(stored(memory))
    silent = {w for w, told in held.items() if not told["added"] and not told["statuses"]}
    assert folded == {wamid: told for wamid, told in held.items() if wamid not in silent}
    told = fold_conversations(memory.log[CONVERSATIONS])
    for key, state in memory.states[CONVERSATIONS_NAME].items():
        newest = told.get(key.removeprefix("v/"))
        if state.merged_into:
            assert newest is None
        else:
            view = {k: v for k, v in newest.items() if k != "version"}
            assert view == orjson.loads(state.told)
            assert newest["version"] == state.version
