"""The catalogue of metrics: names as Prometheus wants them, labels that are bounded, and words that are known."""

import ast
import re
from pathlib import Path

import pytest

from schemas.events import DATA
from schemas.ports import Event
from services.telemetry import logs
from services.telemetry.catalogue import CATALOGUE, GROUPS, NUMBERS_DEFAULT, OTHER, series
from services.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
SERIES_MAX = 6_000
"""Of one process, were every label ever to take every value it may."""


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_wants_it(metric):
    assert re.fullmatch(r"(coexist|process)_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert metric.meaning.endswith(".")
    if metric.unit in ("seconds", "bytes"):
        assert metric.name.removesuffix("_total").endswith(metric.unit)
    if metric.unit == "0 to 1":
        assert metric.name.endswith("_ratio")
    if metric.kind == "histogram":
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_name_is_listed_twice():
    assert len(CATALOGUE) == sum(len(group) for group in GROUPS.values())


def test_there_is_an_end_to_the_series_of_a_process(tell):
    most = {metric.name: metric.series_max() for metric in CATALOGUE.values()}
    tell(f"metrics: {len(CATALOGUE)} names, {len(series())} kinds of series, at most {sum(most.values())} series")
    assert sum(most.values()) < SERIES_MAX, sorted(most.items(), key=lambda item: -item[1])[:5]


def test_numbers_beyond_the_first_share_one_series():
    metrics = Metrics(numbers_max=3)
    for n in range(10):
        event = Event("id", "webhook.message", f"10{n}", b"{}", 1.0, 1.0)
        metrics.appended([("inbound", event)], 2.0, 0.1)
    seen = {
        sample.labels["number"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "coexist_number_items_total" and sample.labels["kind"] == "message"
    }
    assert seen == {"100": 1, "101": 1, "102": 1, OTHER: 7}
    assert metrics.registry.get_sample_value("coexist_ingest_items_total", {"kind": "message"}) == 10


@pytest.mark.parametrize("name", ["", "Laia", "+34600111222", "a" * 500, "١٢٣"])
def test_what_is_no_id_of_metas_is_nobodys_label(name):
    assert Metrics().number(name) == OTHER


def test_without_numbers_of_their_own_all_are_others():
    assert Metrics(numbers_max=0).number("106540352242922") == OTHER
    assert NUMBERS_DEFAULT > 0


def test_the_oldest_append_under_way_is_what_is_told():
    metrics = Metrics()
    assert metrics.unconfirmed_s(5.0) == 0
    first, second = metrics.appending(1.0), metrics.appending(2.0)
    assert metrics.unconfirmed_s(5.0) == 4
    metrics.append_ended(first)
    assert metrics.unconfirmed_s(5.0) == 3
    metrics.append_ended(second)
    assert metrics.unconfirmed_s(5.0) == 0


def test_every_published_type_may_be_a_label():
    allowed = CATALOGUE["coexist_events_published_total"].labels["type"]
    assert all(allowed.allows(kind) for kind in DATA)
    assert len(DATA) <= allowed.most


def said():
    """Every word that the service logs, and where."""
    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                owner = getattr(node.func.value, "id", "")
                if owner in ("log", "logger") and node.func.attr in logs.COUNTED:
                    yield node.args[0], f"{path.name}:{node.lineno}"


def test_every_line_of_the_log_begins_with_a_fixed_word():
    word = CATALOGUE["coexist_log_lines_total"].labels["event"]
    words = set()
    for argument, place in said():
        assert isinstance(argument, ast.Constant), place
        assert word.allows(argument.value), place
        words.add(argument.value)
    assert 5 < len(words) <= word.most
