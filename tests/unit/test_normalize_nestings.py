"""n items in, n facts out: random nestings of entries, changes and items, each item with a mark of its own.

The cases are drawn by seed from plain chance, which is cheap enough for thousands; the stranger shapes of single
values are the business of `test_normalize_any_bytes`.
"""

import json
import os
import random
import re
from itertools import count

import pytest

from ingest.normalize import normalize

LONG = os.environ.get("COEXIST_TEST_LONG") == "1"
CASES = 50_000 if LONG else 5_000
CHUNKS = 5
AT = 1790009999.5
MARK = re.compile(rb"mark-\d+-")
PHONE = "15550100199"


class Nesting:
    """A body in the making; `marks` are those of the items that must come out, in order."""

    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.numbers = count()
        self.marks = []

    def mark(self):
        self.marks.append(f"mark-{next(self.numbers)}-")
        return self.marks[-1]

    def many(self, make, most):
        return [make() for _ in range(self.pick.randint(0, most))]

    def chance(self, p):
        return self.pick.random() < p

    # --- items

    def item(self, known):
        """An item: as Meta writes it, or in a shape that nobody knows."""
        if self.chance(0.7):
            return known(self.mark())
        mark = self.mark()
        return self.pick.choice([mark, [mark], {"odd": mark}, {"id": mark}, {"id": {"id": mark}, "type": 7}])

    def message(self, mark):
        kinds = {
            "text": {"type": "text", "text": {"body": "hola"}},
            "image": {"type": "image", "image": {"id": "1", "caption": "c"}},
            "edit": {"type": "edit", "edit": {"original_message_id": "w", "message": {"type": "text"}}},
            "revoke": {"type": "revoke", "revoke": {"original_message_id": "w"}},
            "system": {"type": "system", "system": {"type": "user_changed_number", "wa_id": "15550100333"}},
            "unsupported": {"type": "unsupported", "errors": [{"code": 131051}]},
            "tomorrow": {"type": "tomorrow", "tomorrow": {"x": 1}},
        }
        kind = self.pick.choice(list(kinds))
        return {"id": mark, "from": PHONE, "timestamp": "1790000000"} | kinds[kind]

    def echo(self, mark):
        return {"id": mark, "from": "15550100001", "to": PHONE, "timestamp": "1790000000", "type": "text",
                "text": {"body": "hola"}}  # fmt: skip

    def status(self, mark):
        return {"id": mark, "status": "delivered", "timestamp": "1790000000", "recipient_id": PHONE}

    def contact(self, mark):
        person = {"full_name": mark, "phone_number": PHONE}
        return {"type": "contact", "contact": person, "action": "add", "metadata": {"timestamp": "1790000000"}}

    def wish(self, mark):
        return {"wa_id": PHONE, "category": "marketing_messages", "value": "stop", "detail": mark, "timestamp": 1}

    def notice(self, mark):
        return {"code": 130429, "title": mark}

    def chunk(self):
        threads = self.many(self.thread, 3)
        metadata = {"phase": self.pick.randint(0, 2), "chunk_order": 1, "progress": 5, "note": self.mark()}
        return {"metadata": metadata, "threads": threads}

    def thread(self):
        return {"id": PHONE, "messages": self.many(lambda: self.item(self.message), 4)}

    # --- what holds them

    def arrays(self, field):
        if field == "history":
            return {"history": self.many(self.chunk, 2), **self.of("messages", self.message, 0.3)}
        value = self.of("messages", self.message, 0.6) | self.of("statuses", self.status, 0.4)
        value |= self.of("message_echoes", self.echo, 0.4) | self.of("state_sync", self.contact, 0.2)
        value |= self.of("user_preferences", self.wish, 0.1) | self.of("errors", self.notice, 0.1)
        return value

    def of(self, key, known, chance):
        return {key: self.many(lambda: self.item(known), 5)} if self.chance(chance) else {}

    def change(self):
        kind = self.pick.choice(["items", "items", "items", "account", "unknown", "odd"])
        if kind == "account":
            return {"field": "account_update", "value": {"event": "ACCOUNT_OFFBOARDED", "note": self.mark()}}
        if kind == "unknown":
            return {"field": "tomorrow", "value": {"x": self.mark()}}
        if kind == "odd":
            return {"field": "messages", "value": self.mark()}
        field = self.pick.choice(["messages", "messages", "smb_message_echoes", "smb_app_state_sync", "history"])
        value = self.arrays(field)
        if self.chance(0.1):
            value["somethings"] = [{"x": self.mark()}]
        if not value:  # a value without anything in it is one fact
            value["messaging_product"] = self.mark()
        return {"field": field, "value": value}

    def entry(self):
        if self.chance(0.1):
            return {"id": "7", "somethings": {"x": self.mark()}}
        found = {"id": "7", "changes": self.many(self.change, 4)}
        if self.chance(0.1):
            found["more"] = {"x": self.mark()}
        return found

    def body(self):
        return {"object": "whatsapp_business_account", "entry": self.many(self.entry, 4)}


@pytest.mark.parametrize("part", range(CHUNKS))
def test_n_items_in_n_facts_out_in_random_nestings(part, tell):
    items = 0
    for seed in range(part, CASES, CHUNKS):
        nesting = Nesting(seed)
        body = nesting.body()
        told = [set(MARK.findall(event.data)) for _, event in normalize(json.dumps(body).encode(), AT)]
        assert all(len(marks) == 1 for marks in told), f"seed {seed}: a fact of no item, or of two: {body}"
        assert sorted(mark.decode() for marks in told for mark in marks) == sorted(nesting.marks), (
            f"seed {seed}: {body}"
        )
        items += len(nesting.marks)
    tell(f"n in, n out, part {part}: {items} items in {CASES // CHUNKS} random nestings")
