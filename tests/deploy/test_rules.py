"""The rules of Prometheus: they are valid, ask for what exists, fire when they should, and lead to the runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from services.telemetry.catalogue import CATALOGUE, series
from tests.deploy.promql import grouped, labels, names
from tests.unit.test_catalogue import said

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
GROUPS = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]
OF_PROMETHEUS = {"up": {"job", "instance"}, "probe_ssl_earliest_cert_expiry": {"job", "instance"}}
OF_EVERY_SERIES = {"job", "instance"}
TESTS = ("rules_test.yml", "rules_days_test.yml")


def known():
    """Every series that a query may read, with its labels where they are known."""
    return {name: set(found) | OF_EVERY_SERIES for name, found in series().items()} | OF_PROMETHEUS


def wrong(query, further=frozenset()):
    """What a query asks for that does not exist."""
    there = known()
    missing = {name for name in names(query) if name not in there and name not in RECORDED | further}
    strange = {(name, label) for name, label in labels(query) if name in there and label not in there[name]}
    everywhere = set().union(*there.values()) | {"alertname", "severity"}
    return missing, strange, {label for label in grouped(query) if label not in everywhere}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_series_and_labels_of_the_catalogue(rule):
    assert wrong(rule["expr"]) == (set(), set(), set())


def test_a_query_for_what_does_not_exist_is_found():
    assert wrong("sum(coexist_nothing_total)") == ({"coexist_nothing_total"}, set(), set())
    assert wrong('coexist_sends_total{colour="red"}')[1] == {("coexist_sends_total", "colour")}
    assert wrong("sum by (phone) (coexist_ready)")[2] == {"phone"}


def test_values_of_closed_labels_that_rules_name_exist():
    words = {argument.value for argument, _ in said()}
    for rule in RULES:
        for name, inside in re.findall(r"(coexist_[a-z_]+)\{([^}]*)\}", rule["expr"]):
            metric = CATALOGUE.get(name) or CATALOGUE[re.sub(r"_(bucket|sum|count)$", "", name)]
            for label, _, value in re.findall(r'([a-z]+)(=~|=)"([^"]*)"', inside):
                for one in value.split("|"):
                    if label == "le":
                        assert float(one) in metric.buckets
                    elif label == "event":
                        assert one in words
                    elif label in metric.labels:
                        assert metric.labels[label].allows(one), f"{name} {label}={one}"


def test_prometheus_itself_takes_the_rules(promtool):
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", FOLDER / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(promtool):
    command = [promtool, "test", "rules"]
    running = [
        subprocess.Popen([*command, FOLDER / name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in TESTS
    ]
    told = [one.communicate(timeout=120)[0] for one in running]
    assert [one.returncode for one in running] == [0] * len(TESTS), "".join(told)


def test_every_alert_has_a_test_in_which_it_fires():
    text = "".join((FOLDER / name).read_text() for name in TESTS)
    fired = set(re.findall(r'alertname="(\w+)"', text))
    assert {rule["alert"] for rule in ALERTS} == fired


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#{rule['alert'].lower()}"
