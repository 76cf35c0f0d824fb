"""The embedded edition, upgraded and put back on one data folder again and again under load."""

import asyncio
import os
import signal
import time

import httpx
import pytest

from tests.crash.books import Books, Timeline, ends, lost, sent_twice, unheard
from tests.crash.sends import Sends
from tests.crash.test_kill import TROUBLE, World, come_to_rest, decide_what_is_doubtful, people_of
from tests.former import former, named
from tests.processes import Sandbox, Service, probe, settings_for

pytestmark = [pytest.mark.crash, pytest.mark.faults]

FLIPS = 50 if os.environ.get("COEXIST_TEST_LONG") else 6
SEED = 20_28
NUMBERS = 12
PLAN = {"messages_per_s": 150, "seconds": 1, "echoes_ratio": 0.35, "customers": 5}
SENDS_PER_S = 8
LIFE_S = 1.0


def flip(service, world, tree):
    """Start the versions in turn on the same folder, and stop each. The longest stop in seconds."""
    stops = []
    for n in range(FLIPS + 1):
        with service(tree if n % 2 == 0 else None) as process:
            process.in_service(probe())
            world.happen(n)
            time.sleep(LIFE_S)
            code, took = process.stop(signal.SIGTERM)
            assert code == 0, process.err.read_text()[-2000:]
            stops.append(took)
    return max(stops)


def test_versions_after_each_other_on_one_folder_lose_and_repeat_nothing(tmp_path, tell):
    tree, settings = former(tmp_path), settings_for(tmp_path / "data")
    client = httpx.Client(timeout=5, trust_env=False)
    webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
    with Sandbox(tmp_path, webhook, seed=SEED, numbers=NUMBERS) as sandbox, client:
        settings["meta_graph_url"] = sandbox.url
        sandbox.call("POST", "/faults", TROUBLE)

        def service(source=None):
            return Service(settings, tmp_path, client=client, source=source)

        sandbox.call("POST", "/traffic", PLAN)
        with service(tree) as first:
            first.in_service(probe())
            time.sleep(1)
            first.stop(signal.SIGTERM)
        admin = f"http://127.0.0.1:{settings['admin_port']}"
        world = World(sandbox, PLAN)
        with Sends(admin, people_of(sandbox), SENDS_PER_S, SEED) as sends:
            stop_s = flip(service, world, tree)
        with service() as last:
            last.in_service(probe())
            books = Books(tmp_path / "data")
            come_to_rest(sandbox, books)
            assert last.stop()[0] == 0
        asyncio.run(decide_what_is_doubtful(settings, sandbox, books))
        audit(
            books, sandbox, sends, world, f"embedded, {FLIPS} flips between {named(tree)}, stops {stop_s:.1f} s", tell
        )
        books.close()


def audit(books, sandbox, sends, world, what, tell):
    told, ledger = Timeline(books), sandbox.call("GET", "/ledger/items")
    missing, gaps = lost(books, told, ledger), books.gaps()
    requests = sandbox.call("GET", "/ledger/sends")
    twice, unflagged = sent_twice(books, requests)
    accepted = {send["wamid"] for send in requests if send["wamid"]}
    tell(
        f"{what}: {len(ledger)} items, {len(missing)} lost, {told.repeated} told twice, {gaps.total()} gaps; "
        f"{len(sends.taken)} commands, {len(accepted)} accepted by Meta, {len(twice)} twice against their policy"
    )
    assert books.sound()
    assert missing == []
    assert (told.repeated, gaps.total()) == (0, 0)
    assert (twice, unflagged) == (set(), set())
    assert accepted <= set(told.added)
    assert sends.refused == []
    assert unheard(books, world.marks) == []
    outcomes = ends(books)
    assert {command: outcomes[command] for command in sends.taken} == dict.fromkeys(sends.taken, 1)
