"""The last look before a producer's bytes reach the socket: a process that was stopped in between writes nothing."""

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest

from services.kafka.fence import guard

LENGTH, METADATA, PRODUCE = b"\0\0\0\x0a", b"\0\x03", b"\0\0"
BODY = b"\0\x08rest"


class Stream:
    """What a connection of aiokafka writes to."""

    def __init__(self):
        self.written = []
        self.transport = self

    def write(self, data):
        self.written.append(data)

    def get_extra_info(self, name):
        return None


class Client:
    """A client whose connection is there; `kind` is what it encodes a request as."""

    def __init__(self):
        self.stream = Stream()
        self._conns = {1: type("Connection", (), {"_writer": self.stream})()}
        self.kind = PRODUCE

    async def ready(self, node):
        return True

    async def send(self, node, request):
        self.stream.write(LENGTH + self.kind + BODY)


class Producer:
    def __init__(self):
        self.client = Client()


def asking(*answers):
    """May it be written? Answers one by one, as if the process had been stopped between two of them."""
    left = list(answers)
    return lambda: left.pop(0)


def request():
    return ProduceRequest("", -1, 1_000, [])


async def test_what_is_certainly_ours_is_written():
    producer = Producer()
    guard(producer, asking(True, True, True, True))
    for _ in range(2):
        await producer.client.send(1, request())
    assert len(producer.client.stream.written) == 2


async def test_what_may_be_anothers_does_not_leave():
    producer = Producer()
    guard(producer, asking(False))
    with pytest.raises(KafkaError, match="held back"):
        await producer.client.send(1, request())
    assert producer.client.stream.written == []


async def test_a_process_that_was_stopped_while_it_encoded_a_request_does_not_write_it():
    producer = Producer()
    guard(producer, asking(True, False))
    with pytest.raises(OSError, match="held back"):
        await producer.client.send(1, request())
    assert producer.client.stream.written == []


async def test_other_requests_are_asked_nothing():
    producer = Producer()
    guard(producer, asking(True, True))
    await producer.client.send(1, request())
    producer.client.kind = METADATA
    await producer.client.send(1, object())
    assert len(producer.client.stream.written) == 2
