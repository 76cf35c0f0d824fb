"""Graph answers and error objects (Meta contract 6.5 and 8.1), and the checks on a send body. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
TEMPLATES = ("hello_world", "order_update", "appointment_reminder")
SEND_KINDS = (
    "text", "image", "video", "audio", "document", "sticker", "location", "contacts", "reaction",
    "interactive", "template",
)  # fmt: skip
_MEDIA = ("image", "video", "audio", "document", "sticker")
_HTTP = {1: 400, 2: 503, 190: 401, 131000: 500, 131016: 500, 132001: 404, 133004: 503, 10: 403, 200: 403}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Meta's no: the code to branch on, the text for people, a subcode where Meta gives one."""

    code: int
    title: str
    details: str
    subcode: int | None = None

    @property
    def http_status(self) -> int:
        """Return the status that Meta's table names for this code."""
        return _HTTP.get(self.code, 400)

    def as_dict(self, trace: str) -> Json:
        """Return the error object."""
        error: Json = {
            "message": f"(#{self.code}) {self.title}",
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        return {"error": error}


BAD_TOKEN = Refusal(190, "Authentication Error", "Error validating access token.", 463)
UNKNOWN_OBJECT = Refusal(100, "Unsupported request", "Object does not exist or cannot be loaded.", 33)
UNKNOWN_ERROR = Refusal(131000, "Something went wrong", "The message could not be sent due to an unknown error.")
WINDOW_CLOSED = Refusal(
    131047, "Re-engagement message", "More than 24 hours have passed since the customer last replied."
)
TOO_FAST = Refusal(130429, "Rate limit hit", "Cloud API message throughput has been reached.")
PAIR_TOO_FAST = Refusal(
    131056,
    "Pair rate limit hit",
    "Too many messages sent from this number to the same person in a short time.",
)
SYNC_TWICE = Refusal(2593107, "Synchronization already requested", "Each kind of sync can be requested once.")
SYNC_LATE = Refusal(2593108, "Synchronization window is over", "A sync can be requested within 24 hours of onboarding.")
BAD_CODE = Refusal(100, "Invalid verification code format", "This authorization code has been used.", 36009)


def invalid(details: str) -> Refusal:
    """Return 100: a parameter of the wrong form."""
    return Refusal(100, "Invalid parameter", details)


def missing(name: str) -> Refusal:
    """Return 131008: a parameter that is not there."""
    return Refusal(131008, "Required parameter is missing", f"Parameter {name} is required.")


def value(details: str) -> Refusal:
    """Return 131009: a parameter with an impossible value."""
    return Refusal(131009, "Parameter value is not valid", details)


def accepted(to: str, wa_id: str | None, user_id: str | None, wamid: str, *, template: bool) -> Json:
    """Return the answer to an accepted send (Meta contract 6.5)."""
    contact: Json = {"input": to}
    if wa_id is not None:
        contact["wa_id"] = wa_id
    if user_id is not None:
        contact["user_id"] = user_id
    message = {"id": wamid, "message_status": "accepted"} if template else {"id": wamid}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}


def check_send(body: Json, *, templates_strict: bool) -> Refusal | None:
    """Return why Meta would not take this body, None if it would (Meta contract 6.2 and 6.3)."""
    if body.get("messaging_product") != "whatsapp":
        return invalid("Parameter messaging_product must be whatsapp.")
    if not isinstance(body.get("to") or body.get("recipient"), str):
        return missing("to")
    kind = body.get("type", "text")
    if kind not in SEND_KINDS:
        return Refusal(131051, "Unsupported message type", "Message type is not supported.")
    content = body.get(kind)
    if not content or not isinstance(content, list if kind == "contacts" else dict):
        return missing(kind)
    callback = body.get("biz_opaque_callback_data")
    if callback is not None and (not isinstance(callback, str) or len(callback) > 512):
        return invalid("Parameter biz_opaque_callback_data must be at most 512 characters.")
    context = body.get("context")
    if context is not None and not (isinstance(context, dict) and isinstance(context.get("message_id"), str)):
        return missing("context.message_id")
    return _check_content(kind, content, templates_strict=templates_strict)


def _check_content(kind: str, content: Any, *, templates_strict: bool) -> Refusal | None:
    if kind == "text":
        return _check_length(content, "body", 4096)
    if kind in _MEDIA:
        if not (content.get("id") or content.get("link")):
            return missing(f"{kind}.id")
        return _check_length(content, "caption", 1024) if "caption" in content else None
    if kind == "reaction":
        return None if content.get("message_id") else missing("reaction.message_id")
    if kind == "location":
        return None if {"latitude", "longitude"} <= content.keys() else missing("location.latitude")
    if kind == "interactive":
        return _check_interactive(content)
    if kind == "template":
        return _check_template(content, strict=templates_strict)
    return None


def _check_length(content: Json, name: str, length_max: int) -> Refusal | None:
    text = content.get(name)
    if not isinstance(text, str) or not text:
        return missing(name)
    return invalid(f"Param {name} must be at most {length_max} characters long.") if len(text) > length_max else None


def _check_interactive(content: Json) -> Refusal | None:
    action = content.get("action")
    if not isinstance(content.get("type"), str) or not isinstance(action, dict):
        return missing("interactive.action")
    if content["type"] == "button":
        buttons = action.get("buttons")
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= 3:
            return value("Between 1 and 3 buttons are allowed.")
        titles = [button.get("reply", {}).get("title", "") for button in buttons if isinstance(button, dict)]
        if len(titles) < len(buttons) or any(not 1 <= len(title) <= 20 for title in titles):
            return value("Button titles have 1 to 20 characters.")
    if content["type"] == "list":
        sections = action.get("sections")
        rows = sum(len(section.get("rows", ())) for section in sections or () if isinstance(section, dict))
        if not 1 <= rows <= 10:
            return value("A list has 1 to 10 rows.")
    return None


def _check_template(content: Json, *, strict: bool) -> Refusal | None:
    name, language = content.get("name"), content.get("language")
    if not isinstance(name, str) or not isinstance(language, dict) or not language.get("code"):
        return missing("template.name and template.language.code")
    if strict and name not in TEMPLATES:
        return Refusal(132001, "Template name does not exist in the translation", f"Template {name} is unknown.")
    return None
