"""Qualify leads: ask a new customer three questions, and go quiet as soon as a person answers.

The bot keeps no state of its own. What it may say next follows from how often it has spoken, which stands in the id of
its commands; whether it may speak at all is checked by Coexist at the last moment, by `only_if`.
"""

import argparse
import asyncio
import contextlib
import os
from hashlib import sha256

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

QUESTIONS = (
    "Hola! I am the assistant of the house. What is it about: a booking, an order, or something else?",
    "And when would you like it?",
    "How may we call you? A person will answer in a moment.",
)


class Bot:
    """Answers customers of one number."""

    def __init__(self, number: str, prefix: str, producer: AIOKafkaProducer) -> None:
        self.number = number
        self.topic = f"{prefix}.outbound"
        self.producer = producer
        self.asked: dict[str, int] = {}
        self.quiet: set[str] = set()

    async def hear(self, type_: str, data: dict) -> None:
        """React to one fact of the timeline."""
        conversation = data.get("conversation_id")
        if type_ != "message.added" or data["historical"] or data["number"] != self.number:
            return
        if data["origin"] == "business_app" and not data["possibly_automatic"]:
            self.quiet.add(conversation)  # Coexist holds our sends back for half an hour; we leave it at that for good
        elif data["origin"] == "customer" and conversation not in self.quiet:
            asked = self.asked.get(conversation, 0)
            if asked < len(QUESTIONS):
                self.asked[conversation] = asked + 1
                await self.ask(data, QUESTIONS[asked])

    async def ask(self, heard: dict, question: str) -> None:
        """Say something, unless by then a person has spoken or the customer has gone on writing."""
        contact = heard["contact"]
        command = {
            "command_id": f"bot-{sha256(heard['message_id'].encode()).hexdigest()[:24]}",  # read twice: one answer
            "number": self.number,
            "to": contact.get("wa_id") or contact["user_id"],
            "message": {"type": "text", "text": {"body": question}},
            "origin": "bot",
            "only_if": {"not_taken_over": True, "no_message_after": heard["message_id"]},
        }
        headers = [("ce_id", command["command_id"].encode()), ("ce_type", b"send.requested")]
        await self.producer.send_and_wait(self.topic, orjson.dumps(command), key=self.number.encode(), headers=headers)
        print("asked", command["command_id"], flush=True)


async def follow(number: str, bootstrap: str, prefix: str) -> None:
    """Read the timeline from now on."""
    consumer = AIOKafkaConsumer(f"{prefix}.timeline", bootstrap_servers=bootstrap, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    async with producer, consumer:
        await consumer.seek_to_end()
        print("listening", flush=True)
        bot = Bot(number, prefix, producer)
        async for record in consumer:
            headers = dict(record.headers)
            await bot.hear(headers["ce_type"].decode(), orjson.loads(record.value))


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", default=os.environ.get("NUMBER"), help="phone number id of the business")
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "localhost:9092"))
    parser.add_argument("--prefix", default="coexist", help="topic prefix")
    told = parser.parse_args()
    if not told.number:
        parser.error("give --number, or set NUMBER")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follow(told.number, told.bootstrap, told.prefix))


if __name__ == "__main__":
    main()
