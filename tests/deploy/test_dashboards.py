"""The Grafana dashboards: made from the script, asking for what exists, in queries that Prometheus understands."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.dashboards import COLUMNS, DASHBOARDS, dashboard
from deploy.generate import files
from services.telemetry.catalogue import CATALOGUE
from tests.deploy.promql import names
from tests.deploy.test_rules import RECORDED, wrong

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
SHOWN = sorted(FOLDER.glob("*.json"))


def queries(board):
    """Every query of a dashboard, with the variables filled in."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"])


def filled(query):
    """A query as Prometheus would get it."""
    return query.replace("$__rate_interval", "1m").replace("$job", "coexist").replace("$number", ".*")


def test_every_generated_file_is_as_the_script_writes_it():
    assert [str(path) for path, text in files() if not path.is_file() or path.read_text() != text] == []
    assert {path.stem for path in SHOWN} == set(DASHBOARDS)


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_every_query_asks_for_what_exists(path):
    board = json.loads(path.read_text())
    found = list(queries(board))
    assert len(found) >= 5
    for title, query in found:
        assert wrong(query, frozenset({"ALERTS"})) == (set(), set(), set()), title
        assert "$" not in query, title


def test_together_they_show_every_metric():
    asked = set()
    for name in DASHBOARDS:
        for _, query in queries(dashboard(name)):
            asked |= names(query)
    rules = yaml.safe_load((FOLDER.parent / "prometheus" / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule.get("record") in asked:
                asked |= names(rule["expr"])
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} - RECORDED
    unseen = {"process_virtual_memory_bytes", "process_max_fds", "coexist_ingest_last_webhook_timestamp_seconds"}
    assert set(CATALOGUE) - shown == unseen, "give it a panel in deploy/dashboards.py, then `make deploy-files`"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_beside_each_other(name):
    panels = dashboard(name)["panels"]
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_itself_understands_every_query(promtool, tmp_path):
    asked = [query for name in DASHBOARDS for _, query in queries(dashboard(name))]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(asked)]
    written = tmp_path / "panels.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", written], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
