"""Send a template to a list of people, each in their language, and say what became of each.

The list is a CSV with the columns `phone`, `language` (ca, es, en) and `name`. Run again with the same --name it sends
nobody a second message: a command's id follows from the campaign and the person. Bulk commands use only what
conversations leave of the number's rate.
"""

import argparse
import asyncio
import csv
import os
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

LANGUAGES = {"ca": "ca", "es": "es", "en": "en_GB"}
OUTCOMES = {"send.accepted", "send.rejected", "send.unresolved", "send.withdrawn", "send.expired", "send.cancelled"}


def command(number: str, campaign: str, template: str, person: dict[str, str]) -> dict:
    """What is asked for one person."""
    who = blake2b(person["phone"].encode(), digest_size=8).hexdigest()
    body = {"type": "body", "parameters": [{"type": "text", "text": person["name"]}]}
    language = {"code": LANGUAGES[person["language"]]}
    return {
        "command_id": f"{campaign}-{who}",
        "number": number,
        "to": person["phone"],
        "message": {"type": "template", "template": {"name": template, "language": language, "components": [body]}},
        "origin": "campaign",
        "lane": "bulk",
    }


def people(path: Path) -> list[dict[str, str]]:
    """The list, checked whole before anybody is written to. Raises SystemExit with the line that is wrong."""
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    for line, person in enumerate(found, 2):
        if not person.get("phone") or not person.get("name") or person.get("language") not in LANGUAGES:
            raise SystemExit(f"{path}, line {line}: phone, language (ca, es, en) and name are needed.")
    return found


async def run(told: argparse.Namespace) -> Counter[str]:
    """Ask for all, then wait for the outcome of each; how often each came."""
    commands = [command(told.number, told.name, told.template, person) for person in people(told.file)]
    waiting, found = {one["command_id"] for one in commands}, Counter[str]()
    consumer = AIOKafkaConsumer(f"{told.prefix}.sends", bootstrap_servers=told.bootstrap, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=told.bootstrap, enable_idempotence=True)
    async with producer, consumer:
        for one in commands:
            headers = [("ce_id", one["command_id"].encode()), ("ce_type", b"send.requested")]
            topic, key = f"{told.prefix}.outbound-bulk", told.number.encode()
            await producer.send_and_wait(topic, orjson.dumps(one), key=key, headers=headers)
        while waiting:
            record = await consumer.getone()
            outcome, data = dict(record.headers)["ce_type"].decode(), orjson.loads(record.value)
            if outcome in OUTCOMES and data["command_id"] in waiting:
                waiting.remove(data["command_id"])
                found[f"{outcome.removeprefix('send.')} {data.get('reason', '')}".strip()] += 1
    return found


def main() -> None:
    """Run to the end of the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="CSV with phone, language, name")
    parser.add_argument("--template", required=True, help="the template's name, the same in all languages")
    parser.add_argument("--name", required=True, help="the campaign's name: with the same one nobody is asked twice")
    parser.add_argument("--number", default=os.environ.get("NUMBER"), help="phone number id of the business")
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "localhost:9092"))
    parser.add_argument("--prefix", default="coexist", help="topic prefix")
    told = parser.parse_args()
    if not told.number:
        parser.error("give --number, or set NUMBER")
    for outcome, count in sorted(asyncio.run(run(told)).items()):
        print(f"{outcome}: {count}")


if __name__ == "__main__":
    main()
