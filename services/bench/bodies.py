"""What the bench sends: signed text webhooks in Meta's shape, every message distinct, and the events they become."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.normalize import normalize
from schemas.ports import Event

SECRET = "bench-" + "5ec2e7" * 6
"""The app secret of the bench, long enough for the settings."""
VERIFY_TOKEN = "bench"  # noqa: S105 - of a service that lives for seconds on loopback
PATH = "/webhooks/meta"
SENT_AT = 1_790_000_000
"""The instant that a number's first message bears: the bench compares no clock with them."""
TURN_S = 10
"""From one message of a number to its next: nobody answers so quickly that it looks automatic."""

_HEAD = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"700000000000001","changes":[{"field":"%b","value":'
    b'{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100001","phone_number_id":"8%014d"},'
    b'"contacts":[%b],"%b":[%b]}}]}]}'
)
_CONTACT = (
    b'{"profile":{"name":"Customer %d","username":"@customer.%d"},"wa_id":"1555%07d","user_id":"US.902100000000%d"}'
)
_SAID = (
    b'"id":"wamid.HBgLMTU1NTAxMDAxOTkVAgASGBQzQTdE%012X","timestamp":"%d","type":"text",'
    b'"text":{"body":"Good morning, is the blue one still there in size M? I would come by on Thursday."}}'
)
_MESSAGE = b'{"from":"1555%07d","from_user_id":"US.902100000000%d",'
_ECHO = b'{"from":"15550100001","to":"1555%07d","to_user_id":"US.902100000000%d",'

HISTORY_FROM = 1 << 40
"""Where the ids of imported messages begin, so that none is a live one's."""
IMPORTED_PHONES = b"1666"
"""How the phones of people begin who are known from history alone."""
THREAD = 10
_HISTORY = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"700000000000001","changes":[{"field":"history","value":'
    b'{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100001","phone_number_id":"8%014d"},'
    b'"history":[{"metadata":{"phase":1,"chunk_order":%d,"progress":50},"threads":[%b]}]}}]}]}'
)
_THREAD = b'{"id":"1666%07d","context":{"wa_id":"1666%07d","user_id":"US.902190000000%d"},"messages":[%b]}'
_OLD = b'{"history_context":{"status":"READ"},"from":"1666%07d",'
_OLD_OURS = b'{"history_context":{"status":"READ"},"from":"15550100001","to":"1666%07d",'


@dataclass(frozen=True, slots=True)
class Workload:
    """Who talks to whom. Message i belongs to contact i mod `contacts`, and a contact always to the same number.

    `messages`: per webhook. `echo_every`: every so manieth webhook of a number is from its app; 0 is none.
    `imported`: each webhook is a chunk of the first number's history instead, with people of its own.
    """

    messages: int = 1
    numbers: int = 12
    contacts: int = 1_200
    echo_every: int = 0
    imported: bool = False

    def body(self, index: int) -> bytes:
        """The body of webhook `index`, the same for the same index."""
        return self._chunk(index) if self.imported else self._live(index)

    def _chunk(self, index: int) -> bytes:
        """One thread per ten messages, every other one from the app, a day older with each chunk."""
        threads = []
        for start in range(index * self.messages, (index + 1) * self.messages, THREAD):
            contact = start // THREAD % self.contacts
            said = (
                (_OLD_OURS if message % 2 else _OLD) % contact
                + _SAID % (HISTORY_FROM + message, SENT_AT - 86_400 - index)
                for message in range(start, min(start + THREAD, (index + 1) * self.messages))
            )
            threads.append(_THREAD % (contact, contact, contact, b",".join(said)))
        return _HISTORY % (0, index, b",".join(threads))

    def _live(self, index: int) -> bytes:
        number, turn = index % self.numbers, index // self.numbers
        echo = bool(self.echo_every) and turn % self.echo_every == 0
        per_number = max(1, self.contacts // self.numbers)
        contacts, said = [], []
        for place in range(self.messages):
            message = index * self.messages + place
            contact = number * per_number + (turn * self.messages + place) % per_number
            contacts.append(_CONTACT % (contact, contact, contact, contact))
            said.append((_ECHO if echo else _MESSAGE) % (contact, contact) + _SAID % (message, SENT_AT + turn * TURN_S))
        field, key = (b"smb_message_echoes", b"message_echoes") if echo else (b"messages", b"messages")
        return _HEAD % (field, number, b",".join(contacts), key, b",".join(said))

    def request(self, index: int) -> bytes:
        """The whole HTTP request of webhook `index`."""
        body = self.body(index)
        digest = hmac.digest(SECRET.encode(), body, "sha256").hex()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"X-Hub-Signature-256: sha256={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def events(self, first: int, count: int, received_at: float) -> Iterator[list[tuple[str, Event]]]:
        """What ingest makes of the webhooks from `first` on, one list per webhook."""
        for index in range(first, first + count):
            yield normalize(self.body(index), received_at)
