"""Scripts by seed: what happened between a business and some customers, as the deliveries that tell of it.

A delivery may come at any time, any number of times and in any company, except where the system itself guarantees an
order: `send.attempted` is durable before its request leaves, so all that a send causes comes after it, and the sender
opens the next attempt of a conversation only once the one before it is known or given up.
"""

import random
from dataclasses import dataclass, field

import orjson
from msgspec import Raw

from schemas.items import Contact
from schemas.topics import HISTORY, INBOUND, OUTBOUND
from tests import harness as h
from tests.harness import T0

SPREAD_S = 60.0
"""All deliveries of a script come within this time: less than an attempt stays open (see test_confluence)."""
AWAY = "Ara mateix som fora, tornem dilluns"
DAY_S = 86_400.0
VARIANTS = (
    ("5511987654321", "551187654321"),
    ("5215512345678", "525512345678"),
    ("5491123456789", "541123456789"),
    ("34600111222",),
    ("551131234567",),
    ("15550100199",),
)


@dataclass(frozen=True)
class Delivery:
    """A record to be delivered once at least, once all of `after` were."""

    id: int
    topic: str
    event: object
    after: frozenset
    again: tuple = ()
    """Other forms in which it may be repeated, such as with a later time."""
    pinned: bool = False
    """Without it the others would mean something else: it ties a person's identities."""

    def __repr__(self):
        after = f" after {sorted(self.after)}" if self.after else ""
        return f"#{self.id} {self.topic} {self.event.type} {self.event.id} {bytes(self.event.data).decode()}{after}"


@dataclass
class Person:
    phones: tuple
    user_id: str = ""
    parent: str = ""
    old_user_id: str = ""
    old_phone: str = ""
    tied: bool = False
    last_send: frozenset = frozenset()
    doubtful: bool = False


@dataclass
class Writer:
    """Writes one script. `pick` is the only source of chance."""

    seed: int
    deliveries: list = field(default_factory=list)

    def __post_init__(self):
        self.pick = random.Random(self.seed)
        self.words = 0
        self.wamids = 0
        self.everybody = []

    # --- the small things

    def chance(self, p):
        return self.pick.random() < p

    def when(self):
        return float(int(T0 - self.pick.uniform(0, 30)))

    def wamid(self):
        self.wamids += 1
        return f"wamid.{self.seed}.{self.wamids}"

    def unique(self):
        self.words += 1
        return f"words {self.words}"

    def says(self):
        return self.pick.choice(["ok", "ok", self.unique()])

    def put(self, event, topic=INBOUND, after=(), again=(), *, pinned=False):
        delivery = Delivery(len(self.deliveries), topic, event, frozenset(after), tuple(again), pinned)
        self.deliveries.append(delivery)
        return delivery.id

    def contact(self, person):
        """One of the forms in which Meta names this person; at least one delivery must tie its identities."""
        wa_id = self.pick.choice(person.phones) if person.phones else ""
        user_id, parent = person.user_id, person.parent
        if person.old_user_id and self.chance(0.5):
            user_id = person.old_user_id
        if wa_id and user_id and self.chance(0.5):
            wa_id, user_id, parent = self.pick.choice([(wa_id, "", ""), ("", user_id, parent)])
        name = self.pick.choice(["", "Laia"])
        return Contact(wa_id=wa_id, user_id=user_id, parent_user_id=parent, name=name)

    def tie(self, person):
        """Something that names every identity of the person, so that all of them are known to be one."""
        if person.old_phone:
            old, new = Contact(wa_id=person.old_phone), Contact(wa_id=person.phones[-1], user_id=person.user_id)
            self.put(
                h.contact_event("changed_number", new, T0 - 2 * 86_400, old, f"sys-{person.old_phone}"), pinned=True
            )
        if person.old_user_id:
            old, new = Contact(user_id=person.old_user_id), Contact(user_id=person.user_id)
            self.put(
                h.contact_event("changed_user_id", new, self.when(), old, f"sys-{person.old_user_id}"), pinned=True
            )
        if person.phones and person.user_id:
            both = Contact(wa_id=person.phones[0], user_id=person.user_id, parent_user_id=person.parent)
            self.put(h.contact_event("add", both, self.when(), None, f"add-{person.user_id}"), HISTORY, pinned=True)

    def people(self):
        variants = self.pick.sample(VARIANTS, 3)
        for index in range(self.pick.choice([1, 1, 2, 3])):
            kind = self.pick.choice(["phone", "user", "both", "both", "parent", "new_user", "new_phone"])
            person = Person(() if kind == "user" else variants[index])
            if kind != "phone":
                person.user_id = f"US.{index}" if kind != "new_phone" else ""
            person.parent = f"US.ENT.{index}" if kind == "parent" else ""
            person.old_user_id = f"US.9{index}" if kind == "new_user" else ""
            if kind == "new_phone":
                person.old_phone = f"3460000000{index}"
                person.phones = (person.old_phone, f"3461111111{index}")
            self.tie(person)
            yield person

    # --- the stories

    def copies(self, make, wamid, person, at, says):
        """A message or an echo, perhaps announced by a placeholder; a repeat may carry a later time."""
        contact = self.contact(person)
        late = make(wamid, contact, at + self.pick.choice([1, 2, 5]), says)
        self.put(make(wamid, contact, at, says), again=[late])
        if self.chance(0.2):
            self.put(h.placeholder(make, wamid, contact, at))

    def imported(self, wamid, person, at, direction, says):
        if self.chance(0.25):
            self.put(h.history(wamid, self.contact(person), at - self.pick.choice([0, 1, 3]), direction, says), HISTORY)

    def changes(self, wamid, person, at, side, after=()):
        for n in range(self.pick.choice([0, 0, 0, 1, 2])):
            says = h.text(self.unique())
            self.put(h.edit(wamid, f"ed{n}-{wamid}", self.contact(person), at + 1 + n, says, side), after=after)
        if self.chance(0.15):
            self.put(h.revoke(wamid, self.contact(person), at + 4, side), after=after)

    def statuses(self, wamid, person, at, token="", after=()):
        for n, name in enumerate(self.pick.sample(["sent", "delivered", "read", "played", "failed"], 3)):
            if self.chance(0.7):
                code = 131026 if name == "failed" else 0
                event = h.status(wamid, name, self.contact(person), at + n, token, code)
                yield self.put(event, after=after)

    def customer_writes(self, person):
        wamid, at, says = self.wamid(), self.when(), self.says()
        self.copies(h.message, wamid, person, at, says)
        self.imported(wamid, person, at, "inbound", says)
        self.changes(wamid, person, at, "customer")

    def owner_writes(self, person):
        """A person at the phone. Never the words of a send that only an echo could prove."""
        wamid, at, says = self.wamid(), self.when(), self.says()
        self.copies(h.echo, wamid, person, at, says)
        self.imported(wamid, person, at, "outbound", says)
        self.changes(wamid, person, at, "business")
        list(self.statuses(wamid, person, at))

    def away(self, person):
        """Everybody writes and gets the same text at once, by the app or by a person with a quick hand."""
        for other in self.everybody:
            self.greets(other, [AWAY])

    def greets(self, person, says=(AWAY, AWAY, "", "")):
        """The app answers by itself, or a person in haste: to somebody new, or not so new, and in the same words."""
        at = self.when()
        if not person.old_phone and self.chance(0.5):  # before the change, the phone was somebody else's
            before = at - self.pick.choice([3, 13.9, 14.1, 20]) * DAY_S
            self.put(h.message(self.wamid(), self.contact(person), before, self.says()))
        if self.chance(0.8):
            self.put(h.message(self.wamid(), self.contact(person), at, self.says()))
        wamid, says = self.wamid(), self.pick.choice(says) or self.unique()
        self.copies(h.echo, wamid, person, at + self.pick.choice([0, 2, 5, 6, 9]), says)
        self.imported(wamid, person, at, "outbound", says)

    def only_history(self, person):
        says, direction = self.says(), self.pick.choice(["inbound", "outbound"])
        self.put(h.history(self.wamid(), self.contact(person), T0 - 86_400, direction, says), HISTORY)

    def we_send(self, person):
        """An attempt of ours, in every way it may end."""
        if person.doubtful:
            return
        end = self.pick.choice(
            ["accepted", "accepted", "proved", "silent", "echo_only", "nothing", "refused", "unsent"]
        )
        if end == "echo_only" and person.old_user_id:  # whose the phone is changes in the middle
            end = "proved"
        command, at = f"cmd{self.seed}-{len(self.deliveries)}", self.when()
        says = self.says() if end in ("accepted", "proved", "refused", "unsent") else self.unique()
        to = self.contact(person)
        author = self.pick.choice(["bot", "agent"])
        wide = Raw(orjson.dumps({"body": says, "preview_url": False}))
        attempt = self.put(h.attempted(command, to, at, ("text", wide), author=author), after=person.last_send)
        known = getattr(self, f"_{end}")(command, to, at, says, person, attempt)
        person.last_send = frozenset(known)

    def _accepted(self, command, to, at, says, person, attempt):
        wamid = self.wamid()
        known = self.put(h.answered(command, "accepted", to, at, wamid), after=[attempt])
        list(self.statuses(wamid, person, at, h.token_of(command), after=[attempt]))
        self._own_echo(wamid, person, at, says, attempt)
        return [known]

    def _proved(self, command, to, at, says, person, attempt):
        """The answer was lost; a status brings our token."""
        wamid = self.wamid()
        known = [self.put(h.answered(command, "ambiguous", to, at), after=[attempt])]
        event = h.status(wamid, "sent", self.contact(person), at, h.token_of(command))
        known.append(self.put(event, after=[attempt]))
        self._own_echo(wamid, person, at, says, attempt)
        return known

    def _silent(self, command, to, at, says, person, attempt):
        """We crashed before the answer, and never asked again; a status brings our token."""
        wamid = self.wamid()
        event = h.status(wamid, "delivered", self.contact(person), at, h.token_of(command))
        known = self.put(event, after=[attempt])
        self._own_echo(wamid, person, at, says, attempt)
        return [known]

    def _own_echo(self, wamid, person, at, says, attempt):
        if self.chance(0.6):
            event = h.echo(wamid, self.contact(person), at + 1, says)
            self.put(event, after=[attempt])
        if self.chance(0.2):
            event = h.history(wamid, self.contact(person), at - 1, "outbound", says)
            self.put(event, HISTORY, after=[attempt])
        self.changes(wamid, person, at, "business", after=[attempt])

    def _echo_only(self, command, to, at, says, person, attempt):
        """The answer was lost and the echo, named as we named it, is all there ever is."""
        wamid, known = self.wamid(), []
        if self.chance(0.7):
            known.append(self.put(h.answered(command, "ambiguous", to, at), after=[attempt]))
        else:  # the echo waits for the answer, and the sender waits for the echo to be judged
            person.doubtful = True
        known.append(self.put(h.echo(wamid, to, at + 1, says), after=[attempt]))
        if self.chance(0.3):
            self.put(h.history(wamid, to, at - 1, "outbound", says), HISTORY, after=[attempt])
        return known

    def _nothing(self, command, to, at, says, person, attempt):
        """Nothing is ever heard of it: the sender gives up after the end of this script."""
        person.doubtful = True
        if self.chance(0.7):
            return [self.put(h.answered(command, "ambiguous", to, at), after=[attempt])]
        return [attempt]

    def _refused(self, command, to, at, says, person, attempt):
        event = h.answered(command, "rejected", to, at, code=131026, reason="dead")
        return [self.put(event, after=[attempt])]

    def _unsent(self, command, to, at, says, person, attempt):
        outcome = self.pick.choice(["not_sent", "withdrawn"])
        return [self.put(h.answered(command, outcome, to, at, reason="taken_over"), after=[attempt])]

    def desk(self, person):
        """Takeovers and releases of the conversation whose id follows from the only identity there is."""
        if len(person.phones) and person.user_id:
            return
        identity = f"u:{person.user_id}" if person.user_id else None
        if identity is None:
            return
        conversation = conversation_of(identity)
        for n in range(self.pick.choice([1, 2, 3])):
            kind = self.pick.choice(["takeover", "release", "assign"])
            more = {"assignee": self.pick.choice(["ana", "pol", None])} if kind == "assign" else {}
            at, event_id = self.when(), f"desk{self.seed}-{len(self.deliveries)}-{n}"
            event = h.outbound(f"conversation.{kind}", at, event_id, conversation_id=conversation, **more)
            self.put(event, OUTBOUND)

    def script(self):
        people = self.everybody = list(self.people())
        stories = [self.customer_writes, self.owner_writes, self.we_send, self.we_send, self.only_history, self.desk]
        stories += [self.greets, self.away]
        for _ in range(self.pick.choice([1, 2, 3, 4, 6, 8])):
            self.pick.choice(stories)(self.pick.choice(people))
        return self.deliveries


def conversation_of(identity):
    from echo_sync.identity import conversation_id

    return conversation_id(h.KEY, h.NUMBER, identity)


def write(seed):
    """The script of a seed."""
    return Writer(seed).script()


def order(script, seed):
    """The deliveries in one of the orders that may happen, with repeats: a list of (seconds to wait, events)."""
    pick = random.Random(seed)
    left = list(script)
    done = set()
    line = []
    while left:
        free = [delivery for delivery in left if delivery.after <= done]
        chosen = pick.choice(free)
        left.remove(chosen)
        done.add(chosen.id)
        line.append((chosen.topic, chosen.event))
    for delivery in script:
        if pick.random() < 0.3:
            first = line.index((delivery.topic, delivery.event))
            again = pick.choice((delivery.event, *delivery.again))
            line.insert(pick.randint(first + 1, len(line)), (delivery.topic, again))
    return _batches(line, pick)


def plain(script):
    """The deliveries as they were written, one by one and at once: every script is in a possible order."""
    return [(0.0, [(delivery.topic, delivery.event)]) for delivery in script]


def _batches(line, pick):
    batches = []
    while line:
        size = pick.choice([1, 1, 2, 5])
        batches.append([pick.choice([0.0, 0.5, 3.0, 20.0]), line[:size]])
        line = line[size:]
    whole = sum(wait for wait, _ in batches)
    scale = min(1.0, SPREAD_S / whole) if whole else 1.0
    return [(wait * scale, batch) for wait, batch in batches]
