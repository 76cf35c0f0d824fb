"""Somebody else's program: it writes commands to `outbound` with confluent-kafka, which places keys by CRC32."""

import orjson
from confluent_kafka import Producer

from schemas.topics import OUTBOUND, OUTBOUND_BULK
from tests.crash.sends import Sends

FLUSH_S = 30.0


class Bot(Sends):
    """See `Sends`. `taken` are the ids of commands that Kafka has confirmed."""

    def __init__(self, cluster, people, per_s, seed, name="bot"):
        super().__init__("", people, per_s, seed, name)
        self._cluster = cluster
        self._producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0})

    def __exit__(self, *_):
        super().__exit__()
        assert self._producer.flush(FLUSH_S) == 0

    def _write(self, _, command):
        self.write(command)
        self._producer.poll(0)

    def write(self, command):
        """Write one command, in the form of `Sends`, to the partition that this client takes for the right one."""
        text, lane = {"type": "text", "text": command["text"]}, command["lane"]
        data = {name: command[name] for name in ("command_id", "number", "to", "origin", "policy")} | {"message": text}
        self._producer.produce(
            self._cluster.kafka.topic(OUTBOUND_BULK if lane == "bulk" else OUTBOUND),
            orjson.dumps(data),
            command["number"],
            headers=[("ce_id", command["command_id"]), ("ce_type", "send.requested"), ("ce_source", "/test")],
            on_delivery=lambda problem, _: problem or self.taken.append(command["command_id"]),
        )

    def flush(self):
        assert self._producer.flush(FLUSH_S) == 0
