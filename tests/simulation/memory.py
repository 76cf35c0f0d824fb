"""A runner in memory: the pure deciders over plain dictionaries, with virtual time. Fast, so there can be thousands.

It keeps what the real runner promises: a record is decided over all states as they stand, outputs of sequenced topics
count their `seq`, and a timer due at t fires only once everything appended before t was read.
"""

import heapq

import orjson

from echo_sync.conversations import Conversations
from echo_sync.lifecycle import Confirm
from echo_sync.messages import Messages
from schemas.ports import FOREIGN, Record, Timer
from schemas.topics import INBOUND, TOPICS
from sender.delivery import Delivery
from tests.harness import KEY, T0, account, check


class View:
    """What a decider sees: its own states and, under foreign keys, those of the others. Nothing is ever missing."""

    def __init__(self, memory, name):
        self._memory = memory
        self.name = name
        self.own = memory.states[name]

    def get(self, key):
        if key.startswith(FOREIGN):
            processor, _, inner = key[1:].partition("|")
            return self._memory.states.get(processor, {}).get(inner)
        return self.own.get(key)

    def heads(self, line, until, limit):
        standing = self._memory.standing(self)
        found = [(state.place, key) for key, state in standing.items() if state.line == line and state.place <= until]
        return [(key, standing[key]) for _, key in sorted(found)[:limit]]


class Memory:
    """One shard of everything. `perform(call)` is handed the sender's calls."""

    def __init__(self, processors=None, now=T0, perform=None, *, strict=True):
        self.processors = list(processors) if processors else [Messages(KEY), Conversations(), Delivery(KEY)]
        self.now = now
        self.perform = perform
        self.strict = strict
        self.confirms = True
        """Whether Graph says of every number that it is back."""
        self.asked = []
        self.states = {p.name: {} for p in self.processors}
        self.wakes = {p.name: {} for p in self.processors}
        self.heaps = {p.name: [] for p in self.processors}
        self.lines = {p.name: {} for p in self.processors}
        self.log = {topic: [] for topic in TOPICS}
        self.positions = {(p.name, topic): 0 for p in self.processors for topic in p.inputs}
        self.seq = {}
        self.notes = []
        self.decided = 0
        self.hearing = True
        self.behind = set()
        """Processors that have not come to read what there is, and fire no timers."""
        self._views = {p.name: View(self, p.name) for p in self.processors}
        self._before = None

    def standing(self, view):
        """The states that stand in a line, as they were before the batch that is being decided."""
        return self.lines[view.name] if self._before is None else self._before

    # --- records

    def append(self, topic, *events):
        for event in events:
            if self.strict:
                check(topic, event)
            self.log[topic].append(event)

    def read(self, processor, limit=1):
        """Let a processor decide up to `limit` records, preferred topics first. Returns how many there were."""
        done = 0
        for topic in processor.inputs:
            while done < limit and (event := self._next(processor, topic)) is not None:
                item = processor.parse(event, topic)
                if item is not None:
                    list(processor.keys(event, item))
                    self.decide(processor, event, item)
                done += 1
        return done

    def _next(self, processor, topic):
        at = self.positions[processor.name, topic]
        if at >= len(self.log[topic]):
            return None
        self.positions[processor.name, topic] = at + 1
        return self.log[topic][at]

    def decide(self, processor, event, item):
        self.decided += 1
        self.apply(processor, processor.decide(self._views[processor.name], event, item, self.now))

    def apply(self, processor, decision):
        states, wakes = self.states[processor.name], self.wakes[processor.name]
        for key, state in decision.states.items():
            if state is None:
                states.pop(key, None)
                wakes.pop(key, None)
                self.lines[processor.name].pop(key, None)
                continue
            states[key] = state
            if state.line is None:
                self.lines[processor.name].pop(key, None)
            else:
                self.lines[processor.name][key] = state
            if state.wake_at is None:
                wakes.pop(key, None)
            else:
                if wakes.get(key) != state.wake_at:
                    heapq.heappush(self.heaps[processor.name], (state.wake_at, key))
                wakes[key] = state.wake_at
        for topic, event in decision.emit:
            self._publish(topic, event)
        self.notes.extend(decision.notes)
        for call in decision.calls:
            self._perform(call)

    def _perform(self, call):
        if not isinstance(call, Confirm):
            self.perform(call)
            return
        self.asked.append(call)
        if self.confirms:
            self.append(INBOUND, account("CONFIRMED", call.at, number=call.number))

    def _publish(self, topic, event):
        if self.strict:
            check(topic, event)
        self.log[topic].append(event)
        if TOPICS[topic].sequenced:
            counter = (topic, event.number)
            self.seq[counter] = self.seq.get(counter, 0) + 1

    def settle(self):
        """Let everybody read until there is nothing left."""
        while any(self.read(processor, 1_000_000) for processor in self.working()):
            pass

    def working(self):
        return [processor for processor in self.processors if processor.name not in self.behind]

    # --- time

    def fire(self, processor):
        """Fire what is due, as one batch: `heads` shows the states as they were before it."""
        wakes, heap, due = self.wakes[processor.name], self.heaps[processor.name], []
        while heap and heap[0][0] <= self.now:
            at, key = heapq.heappop(heap)
            if wakes.get(key) == at and (at, key) not in due[-1:]:
                due.append((at, key))
        if not due:
            return False
        self._before = dict(self.lines[processor.name])
        for _, key in due:
            self.decide(processor, Timer(key, self.hearing), None)
        self._before = None
        for _, key in due:
            if wakes.get(key, self.now + 1) <= self.now:
                heapq.heappush(heap, (wakes[key], key))
        return True

    def fire_all(self):
        """Fire everything due now; what was appended before has been read by then."""
        self.settle()
        while any(self.fire(processor) for processor in self.working()):
            self.settle()

    def next_wake(self):
        found = []
        for name in self.heaps.keys() - self.behind:
            heap = self.heaps[name]
            while heap and self.wakes[name].get(heap[0][1]) != heap[0][0]:
                heapq.heappop(heap)
            found += heap[:1]
        return min(found)[0] if found else None

    def run_until(self, end):
        """Let time pass, from one timer to the next."""
        self.fire_all()
        while (wake := self.next_wake()) is not None and wake <= end:
            self.now = max(self.now, wake)
            self.fire_all()
        self.now = end

    # --- looking

    def told(self, topic, *kinds):
        """The data of a topic's events, of these types or of all, with their type under `type`."""
        return [
            {"type": event.type} | orjson.loads(event.data or b"{}")
            for event in self.log[topic]
            if not kinds or event.type in kinds
        ]

    def state(self, name, key):
        return self.states[name].get(key)


def record(topic, event, offset=0):
    return Record(topic, 0, offset, event, event.recorded_at)
