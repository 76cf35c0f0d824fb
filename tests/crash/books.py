"""What a data folder holds, read beside the service, and what Meta's ledger says must stand in it."""

from collections import Counter, defaultdict

import apsw
import orjson

from echo_sync.conversations import Conversations
from echo_sync.messages import Messages
from schemas.states import DELIVERY
from schemas.tokens import read_token
from schemas.topics import TOPICS
from sender.command import FINAL, Command
from sender.delivery import Delivery
from services.edition import FILE_NAME
from services.shard import decode_state
from services.sqlite.log import LogFile
from services.sqlite.store import SHARDS_MAX

READ = 2_000
INPUTS = {processor.name: processor.inputs for processor in (Messages, Conversations, Delivery)}
MARKED = {"account", "contact", "unknown", "history"}
"""Kinds whose items have no message id: the test marks them, and looks for its marks."""
OUTCOMES = {"send.accepted", "send.rejected", "send.withdrawn", "send.expired", "send.cancelled", "send.unresolved"}


class Books:
    """The file of an embedded edition, read only."""

    def __init__(self, folder, partitions=12):
        self.partitions = partitions
        self.file = apsw.Connection(str(folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
        self.file.set_busy_timeout(5_000)
        self.log = LogFile(self.file, partitions)

    def close(self):
        self.file.close()

    def records(self, topic):
        for partition in range(self.partitions):
            offset = 0
            while found := self.log.read(topic, partition, offset, READ):
                assert [record.offset for record in found] == list(range(offset, offset + len(found)))
                yield from found
                offset += len(found)

    def sound(self):
        return [row[0] for row in self.file.execute("PRAGMA integrity_check")] == ["ok"]

    def key(self):
        return self.file.execute("SELECT value FROM installation WHERE name = 'key'").fetchone()[0]

    def behind(self):
        """Records that a processor has not read yet."""
        slots = dict(self.file.execute("SELECT processor, number FROM processors"))
        places = {(slot, topic): at for slot, topic, at in self.file.execute("SELECT * FROM positions")}
        return sum(
            self.log.end(topic, shard) - places.get((slots[name] * SHARDS_MAX + shard, topic), 0)
            for name, topics in INPUTS.items()
            for topic in topics
            for shard in range(self.partitions)
        )

    def commands(self):
        """Every command there is, by id."""
        (number,) = self.file.execute("SELECT number FROM processors WHERE processor = ?", (DELIVERY,)).fetchone()
        span = (number * SHARDS_MAX, (number + 1) * SHARDS_MAX)
        rows = self.file.execute("SELECT value FROM states WHERE slot >= ? AND slot < ? AND key GLOB 'k/*'", span)
        found = [decode_state(Command, value) for (value,) in rows]
        return {command.command_id: command for command in found}

    def unsettled(self):
        return [command for command in self.commands().values() if command.state not in FINAL]

    def gaps(self):
        """Places at which `seq` does not go on by one, by topic."""
        found = Counter()
        for topic in (topic.name for topic in TOPICS.values() if topic.sequenced):
            last = Counter()
            for record in self.records(topic):
                found[topic] += record.event.seq != last[record.event.number] + 1
                last[record.event.number] = record.event.seq
        return found


class Timeline:
    """The facts on `timeline`, counted by id."""

    def __init__(self, books):
        self.ids = Counter()
        self.added = Counter()
        self.revoked = Counter()
        self.edited = defaultdict(set)
        for record in books.records("timeline"):
            event = record.event
            self.ids[event.id] += 1
            if event.type == "message.added":
                self.added[event.subject] += 1
            elif event.type == "message.revoked":
                self.revoked[event.subject] += 1
            elif event.type == "message.edited":
                self.edited[event.subject].add(event.id.rpartition(":edited:")[2])

    @property
    def repeated(self):
        """Facts told more than once: `message.added`, and any id."""
        return sum(count - 1 for count in (*self.added.values(), *self.ids.values()))


def heard(books):
    """What `inbound` and `history` hold, by the keys of the ledger; and what each edit and revoke was about."""
    keys, changes = set(), {}
    for topic in ("inbound", "history"):
        for record in books.records(topic):
            kind, data = record.event.type.removeprefix("webhook."), orjson.loads(record.event.data)
            if kind == "history":
                wamid = data.get("message_id")
                keys |= {f"history_message:{wamid}", f"history_media:{wamid}"}
            elif kind in ("message", "echo"):
                keys.add(f"{kind}:{data['message_id']}")
            elif kind == "status":
                keys.add(f"status:{data['message_id']}:{data['status']}")
            elif kind in ("edit", "revoke"):
                keys.add(f"{kind}:{data['event_id']}")
                changes[data["event_id"]] = data["message_id"], (data["at"], data["event_id"])
    return keys, changes


def lost(books, told, ledger):
    """Acknowledged items of the ledger without a record, or without their effect on the timeline."""
    keys, changes = heard(books)
    missing, newest = [], {}
    for item in (item for item in ledger if item["acknowledged"] and item["kind"] not in MARKED):
        key, kind, wamid = item["key"], item["kind"], item["wamid"]
        original, place = changes.get(wamid, (None, None))
        if key not in keys:
            missing.append(f"no record: {key}")
        elif kind == "edit":
            newest[original] = max(newest.get(original, place), place)
        elif not {
            "message": wamid in told.added,
            "echo": wamid in told.added,
            "history_message": wamid in told.added,
            "history_media": wamid in told.added,
            "status": f"{wamid}:status:{key.rpartition(':')[2]}" in told.ids,
            "revoke": original in told.revoked,
        }.get(kind, True):
            missing.append(f"no effect: {key}")
    stale = [
        f"no effect: edit {event_id}"
        for original, (_, event_id) in newest.items()
        if original not in told.revoked and event_id not in told.edited[original]
    ]
    return missing + stale


def unheard(books, marks):
    """Marks that stand in no record of their kinds."""
    kinds = {"webhook.account", "webhook.contact", "webhook.unknown"}
    text = b"".join(
        record.event.data
        for topic in ("inbound", "history")
        for record in books.records(topic)
        if record.event.type in kinds
    )
    return [mark for mark in marks if mark.encode() not in text]


def sent_twice(books, sends):
    """Commands that Meta accepted more than once, and how often: those with `at_most_once`, and those not flagged."""
    accepted = Counter()
    for send in sends:
        if send["wamid"] is not None:
            assert send["token_accepted"] == 1
            accepted[read_token(books.key(), send["callback"])[0]] += 1
    told = {record.event.subject for record in books.records("sends") if b"possible_duplicate" in record.event.data}
    twice = {command_id for command_id, count in accepted.items() if count > 1}
    careful = {command.command_id for command in books.commands().values() if command.policy == "at_most_once"}
    return twice & careful, twice - told


def ends(books):
    """How many final outcomes each command was told; the late word on an unresolved one is no second outcome."""
    return Counter(record.event.subject for record in books.records("sends") if record.event.type in OUTCOMES)
