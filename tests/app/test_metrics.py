"""What a running service tells Prometheus: everything in the catalogue, nothing beside it, and nobody's name."""

import asyncio
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from schemas.ports import LogUnavailable
from schemas.states import MESSAGES
from services.sandbox.faults import Faults
from services.telemetry.catalogue import CATALOGUE
from services.telemetry.metric import ENDINGS
from services.telemetry.metrics import Metrics
from services.telemetry.standing import STORE_S, Standing
from tests.app.rig import service, together, until
from tests.app.sandbox_receiver import CONTACT, NUMBER
from tests.processes import busy

BUSY = Faults(duplicate_p=0.5, api_echo_p=1, status_delay_ms=2, reorder_p=0, drop200_p=0)
NOT_ALWAYS = {"coexist_log_lines_total", "coexist_relay_backlog_records"}
"""Only there once something was logged or relayed."""


async def traffic(rig):
    """A little of everything: both sides, a send, what is refused, what is unknown, what cannot be handled."""
    await rig.customer()
    await until(rig.conversation)
    await rig.outcome(await rig.send())
    await rig.owner()
    await rig.outcome(await rig.send(to="34699999999"))
    for name in ("edit", "revoke", "history", "contact"):
        await rig.trigger(name)
    assert (await rig.post(b"{}", secret="another app's")).status_code == 401
    assert (await rig.post(b'{"entry": [{"changes": [{"field": "novelty"}]}]}')).status_code == 200
    await rig.control("/flush", {"timeout_s": 30})


async def scraped(rig):
    """The samples of one scrape by name."""
    answer = await rig.admin.get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


async def test_all_that_is_scraped_is_in_the_catalogue_and_all_of_the_catalogue_is_scraped(tmp_path, tell):
    async with together(tmp_path, faults=BUSY) as rig:
        await traffic(rig)
        found = await scraped(rig)
    known = {metric.name + ending: metric for metric in CATALOGUE.values() for ending in ENDINGS[metric.kind]}
    for name, samples in found.items():
        metric = known[name]
        for sample in samples:
            labels = {label: value for label, value in sample.labels.items() if label != "le"}
            assert set(labels) == set(metric.labels), name
            for label, value in labels.items():
                assert metric.labels[label].allows(value), f"{name}: {label}={value}"
        assert len(samples) <= metric.series_max()
    missing = {name for name in known if name not in found} - NOT_ALWAYS
    assert missing == set()
    tell(f"metrics: {sum(map(len, found.values()))} series after a little of everything")


async def test_a_scrape_tells_the_kinds_and_meanings_of_the_catalogue_in_both_formats(tmp_path):
    async with together(tmp_path) as rig:
        await rig.customer()
        plain = (await rig.admin.get("/metrics")).text
        answer = await rig.admin.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    for families in (text_string_to_metric_families(plain), open_families(answer.text)):
        told = {family.name.removesuffix("_total"): family for family in families}
        for metric in (metric for name, metric in CATALOGUE.items() if name not in NOT_ALWAYS):
            family = told[metric.name.removesuffix("_total")]
            assert family.type == metric.kind
            if metric.name.startswith("coexist_"):
                assert family.documentation == metric.meaning


async def test_a_paused_number_and_a_send_in_doubt_are_seen(tmp_path):
    ahead = [0.0]
    about = {"clock": lambda: time.time() + ahead[0]}
    async with together(tmp_path, wiring=about, faults=Faults(cut_after_accept_p=1, status_delay_ms=600_000)) as rig:
        await rig.customer()
        await until(rig.conversation)
        await rig.send(to=CONTACT, policy="at_most_once")

        async def doubted():
            found = await scraped(rig)
            return found if found["coexist_sends_ambiguous"][0].value else None

        before = await until(doubted)
        assert before["coexist_numbers"][0].labels == {"sending": "on"}
        assert [sample.value for sample in before["coexist_number_sending"]] == [1]
        ahead[0] = 30.0

        async def aged():
            return (await scraped(rig))["coexist_sends_ambiguous_oldest_seconds"][0].value >= 30

        await until(aged)
        await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")

        async def paused():
            return [sample.value for sample in (await scraped(rig))["coexist_number_sending"]] == [0]

        await until(paused)


class Gate:
    """A log whose readers hand out nothing while it is shut."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()

    def __call__(self, log):
        self._log = log
        return self

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def reader(self, *wanted):
        reader = await self._log.reader(*wanted)
        poll = reader.poll

        async def patiently(*wanted):
            await self.open.wait()
            return await poll(*wanted)

        return SimpleNamespace(poll=patiently, ends=reader.ends, positions=reader.positions, close=reader.close)


async def test_lag_says_how_many_events_wait_and_for_how_long(tmp_path):
    gate = Gate()
    async with service(tmp_path, wrap_log=gate) as rig:
        await rig.trigger("message")
        await until(lambda: rig.events("timeline", "message.added"))
        gate.open.clear()
        for _ in range(3):
            await rig.trigger("message")

        async def behind():
            found = await by_processor(rig, "coexist_lag_events")
            waited = await by_processor(rig, "coexist_lag_seconds")
            return found[MESSAGES] >= 2 and 1 < waited[MESSAGES] < 60

        await until(behind)
        gate.open.set()

        async def caught_up():
            found = [await by_processor(rig, f"coexist_lag_{unit}") for unit in ("events", "seconds")]
            return [set(one.values()) for one in found] == [{0}, {0}]

        await until(caught_up)


async def by_processor(rig, name):
    found = Counter()
    for sample in (await scraped(rig))[name]:
        found[sample.labels["processor"]] += sample.value
    return found


@pytest.mark.parametrize("trouble", [LogUnavailable("away"), None], ids=["refuses", "hangs"])
async def test_a_store_that_does_not_answer_is_told_and_the_scrape_succeeds(tmp_path, trouble):
    async def heads(*_):
        if trouble is not None:
            raise trouble
        await asyncio.sleep(60)

    async with service(tmp_path) as rig:
        about = {
            name: getattr(rig.app, name)
            for name in ("settings", "edition", "keepers", "runners", "log", "clock", "ready")
        }
        app = SimpleNamespace(**about, metrics=Metrics(), store=SimpleNamespace(heads=heads))
        started = time.monotonic()
        await Standing(app).look()
    assert time.monotonic() - started < STORE_S + 2 or busy()
    assert app.metrics.registry.get_sample_value("coexist_store_up") == 0
    assert app.metrics.registry.get_sample_value("coexist_data_dir_free_bytes") > 0
