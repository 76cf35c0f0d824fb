"""The examples that speak Kafka, as their users run them: the cluster edition, Meta in a box, and three programs."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.rig import Cluster
from tests.processes import Process, Sandbox, Service, settings_for

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.kafka
PEOPLE = [f"3460020000{n}" for n in range(6)]
SOON_S = 60.0
"""A broker beside other tests may be slow to confirm, and Meta repeats what was refused after some seconds."""
HEARD = 10
"""Every message of the chat bot's test: five of customers, four of the bot, one of a person."""


class Installation:
    """A cluster with one process of all roles, and Meta in a box beside it."""

    def __init__(self, folder, cluster, sandbox, service):
        self.folder, self.cluster, self.sandbox, self.service = folder, cluster, sandbox, service
        self.number = sandbox.call("GET", "/numbers")[0]["number"]

    def command(self, program, *arguments):
        shared = ("--bootstrap", self.cluster.bootstrap, "--prefix", self.cluster.prefix)
        return [sys.executable, str(EXAMPLES / program), *shared, *map(str, arguments)]

    def program(self, program, *arguments):
        return Process(self.command(program, *arguments), self.folder, program, dict(os.environ))

    def customer(self, contact, text):
        self.sandbox.call("POST", "/customer/messages", {"number": self.number, "contact": contact, "text": text})

    def owner(self, contact, text):
        self.sandbox.call("POST", "/app/messages", {"number": self.number, "contact": contact, "text": text})

    def until(self, program, check):
        """Wait for it; where it never comes, say what the program and the service have said."""
        try:
            program.until(check, SOON_S)
        except AssertionError as late:
            told = "\n".join(file.read_text()[-2000:] for file in (program.out, self.service.out, self.service.err))
            raise AssertionError(f"{late}\n{told}") from None

    def said(self, contact):
        messages = self.sandbox.call("GET", f"/chats/{self.number}/{contact}")["messages"]
        return [message for message in messages if message["side"] == "api"]


@pytest.fixture
async def installed(tmp_path):
    async with Cluster() as cluster:
        settings = settings_for(tmp_path, **cluster.settings)
        with Sandbox(tmp_path, f"http://127.0.0.1:{settings['port']}/webhooks/meta") as sandbox:
            settings["meta_graph_url"] = sandbox.url
            with Service(settings, tmp_path) as service:
                service.ready()
                yield Installation(tmp_path, cluster, sandbox, service)


def test_the_examples_do_their_jobs(installed):
    crm, file = "crm_sync.py", installed.folder / "crm.db"
    with installed.program("chatbot.py", "--number", installed.number) as bot:
        installed.until(bot, lambda: "listening" in bot.out.read_text())
        installed.customer(PEOPLE[0], "Hola")
        installed.until(bot, lambda: len(installed.said(PEOPLE[0])) == 1)
        installed.customer(PEOPLE[0], "a booking")
        installed.until(bot, lambda: len(installed.said(PEOPLE[0])) == 2)
        installed.owner(PEOPLE[0], "I am here, tell me")
        installed.customer(PEOPLE[1], "Good morning")
        installed.until(bot, lambda: len(installed.said(PEOPLE[1])) == 1)
        installed.customer(PEOPLE[0], "for two")
        installed.customer(PEOPLE[2], "Bon dia")
        installed.until(bot, lambda: len(installed.said(PEOPLE[2])) == 1)
        assert len(installed.said(PEOPLE[0])) == 2, "the bot spoke although a person had answered"
        assert bot.stop()[0] == 0

    with installed.program(crm, file) as sync:
        installed.until(sync, lambda: len(notes(file)) == HEARD)
    assert ("us, by hand", "I am here, tell me") in notes(file)
    with installed.program(crm, file) as sync:  # started again after a kill: nothing twice, nothing missing
        installed.customer(PEOPLE[2], "one more")
        installed.until(sync, lambda: len(notes(file)) == HEARD + 1)
        assert sync.stop(signal.SIGINT)[0] == 0

    people = installed.folder / "people.csv"
    rows = [f"{phone},{('ca', 'es', 'en')[n % 3]},P{n}" for n, phone in enumerate(PEOPLE)]
    people.write_text("\n".join(["phone,language,name", *rows]))
    campaign = installed.command(
        "campaign.py", people, "--template", "hello_world", "--name", "spring", "--number", installed.number
    )
    for _ in range(2):  # asked twice, sent once
        done = subprocess.run(campaign, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "accepted: 6\n"), done.stderr
    assert [len(installed.said(phone)) for phone in PEOPLE[3:]] == [1, 1, 1]


def test_a_list_with_a_wrong_line_is_refused_before_anybody_is_written_to(tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("phone,language,name\n34600,ca,A\n34601,fr,B\n")
    told = ["--template", "x", "--name", "y", "--number", "1", "--bootstrap", "127.0.0.1:1"]
    command = [sys.executable, str(EXAMPLES / "campaign.py"), str(people), *told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "line 3" in done.stderr


def notes(file):
    with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(file) as crm:
        return crm.execute("SELECT author, text FROM notes").fetchall()
    return []
