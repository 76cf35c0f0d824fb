"""What changes about numbers, WABAs, templates and preferences: kept whole, with its event (Meta contract 5.8, 9)."""

from msgspec import Raw, UnsetType

from ingest.facts import Facts, is_id
from ingest.wire import AccountValue, ErrorCode, Preference, read
from schemas.items import Item
from schemas.phones import digits
from schemas.topics import INBOUND

ACCOUNT_FIELDS = frozenset(
    {
        "account_alerts",
        "account_review_update",
        "account_settings_update",
        "account_update",
        "automatic_events",
        "business_capability_update",
        "business_username_update",
        "business_username_updates",
        "flows",
        "message_template_components_update",
        "message_template_quality_update",
        "message_template_status_update",
        "partner_solutions",
        "payment_configuration_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
        "template_category_update",
        "template_correct_category_detection",
        "tracking_events",
    }
)
"""Fields whose whole value is one fact about an account (Meta contract 1.8)."""


def account(facts: Facts) -> None:
    """A change of a management field. On a partner event the WABA stands in the value, not on the entry."""
    raw = facts.change.value
    value = read(AccountValue, raw)
    if value is None:
        return facts.unknown(raw, "not_an_object")
    if value.waba_info and is_id(value.waba_info.waba_id):
        if facts.number in (facts.waba, "unknown"):
            facts.number = value.waba_info.waba_id
        facts.waba = value.waba_info.waba_id
    facts.business_phone = facts.business_phone or digits(value.display_phone_number or value.phone_number)
    item = Item(field=_field(facts.change.field, value), event=value.event or value.decision or value.status, raw=raw)
    at = facts.instant(facts.change.time or value.timestamp)
    return facts.add(INBOUND, "webhook.account", f"a:{facts.digest(raw)}", item, at)


def _field(field: str, value: AccountValue) -> str:
    """One of Meta's samples names the wrong field (Meta contract 1.9)."""
    return field if isinstance(value.new_quality_score, UnsetType) else "message_template_quality_update"


def error(facts: Facts, _: ErrorCode, raw: Raw) -> None:
    """One of `value.errors[]`: a notice about the number, with no message attached (Meta contract 2.3)."""
    item = Item(field=facts.change.field, event="ERROR", raw=raw)
    fact_id = f"a:{facts.digest(raw)}"
    facts.add(INBOUND, "webhook.account", fact_id, item, facts.instant(facts.change.time))


def preference(facts: Facts, found: Preference, raw: Raw) -> None:
    """One of `user_preferences[]`: a customer wants marketing, or no more of it (Meta contract 9.4)."""
    if not found.value:
        return facts.unknown(raw, "no_preference")
    contact = facts.people.of(found.wa_id, found.user_id, found.parent_user_id)
    item = Item(field=facts.change.field, event=found.value, contact=contact, raw=raw)
    at = facts.instant(found.timestamp)
    return facts.add(INBOUND, "webhook.account", f"a:{facts.digest(raw)}", item, at)
