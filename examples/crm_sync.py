"""Keep a CRM's contact cards and notes in step with WhatsApp, each fact exactly once.

The CRM is a SQLite file here: `cards` (who) and `notes` (what was said). The last `seq` of each topic and number is
kept in the same transaction as what it led to, so a crash at any point repeats nothing and leaves nothing out.
"""

import argparse
import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer

from schemas.reader import is_new

TABLES = """
CREATE TABLE IF NOT EXISTS seen (topic TEXT, number TEXT, seq INTEGER, PRIMARY KEY (topic, number));
CREATE TABLE IF NOT EXISTS cards (conversation TEXT PRIMARY KEY, phone TEXT, name TEXT);
CREATE TABLE IF NOT EXISTS notes (message TEXT PRIMARY KEY, conversation TEXT, at TEXT, author TEXT, text TEXT);
"""
AUTHORS = {"customer": "customer", "business_app": "us, by hand", "api": "us, by software"}


def apply(crm: sqlite3.Connection, type_: str, data: dict) -> None:
    """What one fact changes in the CRM."""
    if type_ == "message.added":
        contact = data.get("contact") or {}
        card = (data["conversation_id"], contact.get("wa_id"), contact.get("name"))
        crm.execute(
            "INSERT INTO cards VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET name = coalesce(excluded.name, name)", card
        )
        author, text = AUTHORS.get(data["origin"], "unknown"), data["content"].get("body", f"({data['kind']})")
        note = (data["message_id"], data["conversation_id"], data["sent_at"], author, text)
        crm.execute("INSERT INTO notes VALUES (?, ?, ?, ?, ?)", note)
    elif type_ == "message.edited":
        crm.execute("UPDATE notes SET text = ? WHERE message = ?", (data["content"].get("body"), data["message_id"]))
    elif type_ == "message.revoked":
        crm.execute("UPDATE notes SET text = '(deleted)' WHERE message = ?", (data["message_id"],))
    elif type_ == "identity.merged":
        crm.execute("UPDATE notes SET conversation = ? WHERE conversation = ?", (data["survivor"], data["retired"]))
        crm.execute("DELETE FROM cards WHERE conversation = ?", (data["retired"],))
    elif type_ == "contact.changed" and (name := data["contact"].get("name")):
        crm.execute("UPDATE cards SET name = ? WHERE phone = ?", (name, data["contact"].get("wa_id")))
    elif type_ == "contact.erased":
        crm.execute("DELETE FROM notes WHERE conversation = ?", (data["conversation_id"],))
        crm.execute("DELETE FROM cards WHERE conversation = ?", (data["conversation_id"],))


async def follow(path: str, bootstrap: str, prefix: str) -> None:
    """Read both topics from the start of what the CRM has not seen."""
    crm = sqlite3.connect(path, isolation_level=None)
    crm.executescript(TABLES)
    seen = {(topic, number): seq for topic, number, seq in crm.execute("SELECT * FROM seen")}
    consumer = AIOKafkaConsumer(
        f"{prefix}.timeline",
        f"{prefix}.contacts",
        bootstrap_servers=bootstrap,
        group_id=f"crm-{Path(path).name}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async for record in consumer:
            headers = {name: value.decode() for name, value in record.headers}
            number, seq = headers["ce_number"], int(headers["ce_seq"])
            if is_new(seen, record.topic, number, seq):
                crm.execute("BEGIN")
                apply(crm, headers["ce_type"], orjson.loads(record.value))
                crm.execute("REPLACE INTO seen VALUES (?, ?, ?)", (record.topic, number, seq))
                crm.execute("COMMIT")
                print(headers["ce_type"], number, seq, flush=True)
            await consumer.commit()
    finally:
        await consumer.stop()
        crm.close()


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the CRM's SQLite file")
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP", "localhost:9092"))
    parser.add_argument("--prefix", default="coexist", help="topic prefix")
    told = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follow(told.file, told.bootstrap, told.prefix))


if __name__ == "__main__":
    main()
