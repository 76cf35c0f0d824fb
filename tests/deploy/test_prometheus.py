"""A real Prometheus with our rules scrapes a running service: every panel shows something, and nobody is called."""

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

import httpx
import yaml

from deploy.dashboards import DASHBOARDS, dashboard
from services.telemetry import logs
from tests.app.rig import together, until
from tests.app.test_metrics import BUSY, traffic
from tests.deploy.test_dashboards import queries
from tests.processes import Process, free_port

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
EMPTY = {"Alerts", "Log lines, per hour", "Worst lag", "Lag", "Lag in seconds", "Lag in events", "Relay backlog"}
"""Panels that are empty while all is well and nobody has a relay; lag comes with its own session."""
SOON_S = 60


class Server:
    """A Prometheus of one test. Scrapes and looks at its rules every quarter of a second."""

    def __init__(self, program, folder, port):
        folder.mkdir()
        shutil.copy(FOLDER / "rules.yml", folder)
        job = {"job_name": "coexist", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        often = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
        config = {"global": often, "rule_files": ["rules.yml"], "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        address = f"--web.listen-address={self.url.removeprefix('http://')}"
        self.process = Process([*command, address, "--log.level=warn"], folder, "prometheus", {})
        self.client = httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=30, trust_env=False)

    async def ask(self, query):
        """The samples that a query finds now. An error of Prometheus fails."""
        answer = await self.client.get("/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return answer.json()["data"]["result"]

    async def up(self):
        """Whether it has scraped the service twice."""
        with contextlib.suppress(httpx.HTTPError):
            if (await self.client.get("/query", params={"query": "1"})).status_code == 503:
                return False
            found = await self.ask('count_over_time(up{job="coexist"}[1m]) >= 2')
            return bool(found) and await self.ask('up{job="coexist"} == 1')
        return False

    async def close(self):
        """End it."""
        await self.client.aclose()
        self.process.kill()


@contextlib.asynccontextmanager
async def watched(program, tmp_path, **config):
    """Service, sandbox, and a Prometheus that watches the service."""
    logs.LINES.clear()  # the tests before this one have run in the same process
    async with together(tmp_path / "data", **config) as rig:
        server = Server(program, tmp_path / "prometheus", rig.app.admin.port)
        try:
            await until(server.up, SOON_S)
            yield rig, server
        finally:
            await server.close()


async def _items(meta):
    """Every item of Meta's ledger."""
    lines = (await meta.get("/sandbox/api/ledger/items")).text.splitlines()
    return [json.loads(line) for line in lines if line]


async def figures(rig, server):
    """One run with repeats, told by Meta's ledger, the page, the metrics and Prometheus: all the same."""
    for n in range(10):
        await rig.customer(f"{n}", contact=f"3460011{n:04}")
    await rig.owner(contact="34600110000")
    for n in range(3):
        await rig.outcome(await rig.send(to=f"3460011{n + 5:04}"))
    await rig.control("/flush", {"timeout_s": 30})
    ledger = (await rig.meta.get("/sandbox/api/ledger")).json()
    items = [one for one in await _items(rig.meta) if one["acknowledged"]]

    async def settled():
        page = (await rig.admin.get("/v1/overview")).json()
        taken = sum(page["totals"]["items"].values())
        unread = sum(one["records"] for one in page["lag"])
        return page if taken == sum(one["acknowledged"] for one in items) and not unread else None

    page = await until(settled, SOON_S)
    totals = page["totals"]
    assert totals["messages"]["customer.inbound"] == 10
    assert totals["messages"]["business_app.outbound"] == 1
    assert totals["sends"]["accepted"] == ledger["sends"]["accepted"] == 3
    for query, told in {
        "sum(coexist_ingest_items_total)": sum(totals["items"].values()),
        'sum(coexist_messages_total{origin="customer"})': totals["messages"]["customer.inbound"],
        'sum(coexist_sends_total{outcome="accepted"})': totals["sends"]["accepted"],
        'sum(coexist_duplicates_dropped_total{reason="redelivery"})': totals["duplicates"]["redelivery"],
        'sum(coexist_echo_latency_seconds_count{stage="total"})': page["echo"]["total"]["count"],
    }.items():

        async def same(query=query, told=told):
            found = await server.ask(query)
            return found and float(found[0]["value"][1]) == told

        await until(same, SOON_S)
    return len(items), totals["items"]


async def test_prometheus_tells_what_the_ledger_tells_in_every_panel_and_only_trouble_calls_somebody(
    prometheus, tmp_path, tell
):
    async with watched(prometheus, tmp_path, faults=BUSY) as (rig, server):
        tell("one run, four witnesses: {} items in Meta's ledger, {} here".format(*await figures(rig, server)))
        await traffic(rig)
        asked = [(title, query) for name in DASHBOARDS for title, query in queries(dashboard(name))]

        async def empty():
            """The panels that show nothing yet."""
            found = [await server.ask(query) for _, query in asked]
            return {title for (title, _), samples in zip(asked, found, strict=True) if not samples} - EMPTY

        async def all_shown():
            return not await empty()

        try:
            await until(all_shown, SOON_S)
        except TimeoutError:
            raise AssertionError(f"these panels stay empty: {await empty()}") from None
        firing = await server.ask('ALERTS{alertstate="firing"}')
        others = {one["metric"]["alertname"] for one in firing} - {"CoexistNotUnderstood"}  # as some traffic is not
        assert others == set()
        tell(f"prometheus: {len(asked)} panel queries answered by a real server, {len(others)} wrong alerts firing")

        await asyncio.gather(*(rig.post(b"{}", secret="another app's") for _ in range(150)))

        async def called():
            found = await server.ask('ALERTS{alertstate="firing", alertname="CoexistBadSignatures"}')
            return found and (await server.client.get("/alerts")).json()["data"]["alerts"]

        told = {one["labels"]["alertname"]: one for one in await until(called, SOON_S)}
        assert "wrong signature" in told["CoexistBadSignatures"]["annotations"]["summary"]
