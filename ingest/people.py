"""Who is meant: the customer's side of an item, found by ids and never by position (Meta contract 2.1, 5.4, 12.3)."""

from collections.abc import Iterable, Sequence

from ingest.wire import ContactEntry, Message
from schemas.items import Contact
from schemas.phones import digits, match_key

NOBODY = Contact()


def is_nobody(contact: Contact) -> bool:
    """Whether nothing at all is known of who this is."""
    return not (contact.wa_id or contact.user_id or contact.parent_user_id)


def from_entry(entry: ContactEntry) -> Contact:
    """What a contact entry says, in our form: digits, and a username without its @."""
    profile = entry.profile
    username = entry.username or (profile.username if profile else "")
    return Contact(
        wa_id=_phone(entry.wa_id),
        user_id=entry.user_id,
        parent_user_id=entry.parent_user_id,
        username=username.removeprefix("@"),
        name=profile.name if profile else "",
    )


def _phone(written: str) -> str:
    return written if written.isascii() and written.isdigit() else digits(written)


class People:
    """The people of one change: who its `contacts[]` names, without the business itself."""

    __slots__ = ("_business", "_by_id", "_seen", "_single")

    def __init__(self, business_phone: str, contacts: Iterable[Contact]) -> None:
        self._business = match_key(business_phone) if business_phone else ""
        others = [contact for contact in contacts if not self.is_business(contact.wa_id)]
        self._single = others[0] if len(others) == 1 else None
        self._by_id = {} if self._single else _by_id(others)
        self._seen: dict[tuple[str, str, str], Contact] = {}

    def is_business(self, phone: str) -> bool:
        """Whether this is the business's own number, however it is written."""
        return bool(phone and self._business) and match_key(phone) == self._business

    def of(self, phone: str, user_id: str, parent_user_id: str) -> Contact:
        """The person with these ids, any of which may be missing, with what `contacts[]` adds."""
        key = (phone, user_id, parent_user_id)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = self._joined(phone, user_id, parent_user_id)
        return found

    def customer(self, message: Message) -> Contact:
        """The customer of a message to the business."""
        return self.of(message.sender, message.from_user_id, message.from_parent_user_id)

    def addressee(self, message: Message) -> Contact:
        """The customer of a message from the business; some captures have the sides swapped (Meta contract 5.4)."""
        if self._is_swapped(message):
            return self.of(
                message.sender,
                message.from_user_id or message.to_user_id,
                message.from_parent_user_id or message.to_parent_user_id,
            )
        return self.of(message.to, message.to_user_id, message.to_parent_user_id)

    def _is_swapped(self, message: Message) -> bool:
        if not message.sender or self.is_business(message.sender):
            return False
        if self.is_business(message.to):
            return True
        if self._single is not None and self._single.wa_id:
            return match_key(message.sender) == match_key(self._single.wa_id)
        return bool(self._business) and not (message.to or message.to_user_id)

    def _joined(self, phone: str, user_id: str, parent_user_id: str) -> Contact:
        named = self._single
        if named is not None and _is_all_of(named, phone, user_id, parent_user_id):
            return named
        wa_id = _phone(phone)
        if not wa_id and "." in phone:  # a business-scoped id where a phone number should be
            user_id = user_id or phone
        named = named or self._named(wa_id, user_id, parent_user_id)
        if named is None or not _agree(wa_id, user_id, named):
            return Contact(wa_id=wa_id, user_id=user_id, parent_user_id=parent_user_id)
        return Contact(
            wa_id=wa_id or named.wa_id,
            user_id=user_id or named.user_id,
            parent_user_id=parent_user_id or named.parent_user_id,
            username=named.username,
            name=named.name,
        )

    def _named(self, wa_id: str, user_id: str, parent_user_id: str) -> Contact | None:
        by_phone = self._by_id.get(match_key(wa_id)) if wa_id else None
        return self._by_id.get(user_id) or by_phone or self._by_id.get(parent_user_id)


def _by_id(contacts: Sequence[Contact]) -> dict[str, Contact]:
    found = {}
    for contact in contacts:
        phone = match_key(contact.wa_id) if contact.wa_id else ""
        found.update({key: contact for key in (phone, contact.user_id, contact.parent_user_id) if key})
    return found


def _is_all_of(contact: Contact, phone: str, user_id: str, parent_user_id: str) -> bool:
    """Whether a contact holds these very ids, as nearly always: then there is nothing to join."""
    same = phone == contact.wa_id and user_id in (contact.user_id, "")
    return same and parent_user_id in (contact.parent_user_id, "")


def _agree(wa_id: str, user_id: str, named: Contact) -> bool:
    """Whether nothing says that these are two people. A recycled phone has another business-scoped id."""
    if user_id and named.user_id:
        return user_id == named.user_id
    if wa_id and named.wa_id:
        return match_key(wa_id) == match_key(named.wa_id)
    return True
