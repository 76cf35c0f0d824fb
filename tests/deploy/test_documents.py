"""Documents that must keep in step with the program: the runbook, links, commands and settings they name."""

import re
from pathlib import Path

import pytest

from services.cli import main
from services.settings import Settings
from tests.deploy.test_rules import ALERTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "deploy").rglob("*.md")) + sorted((ROOT / "k8s").rglob("*.md"))
OTHER_NAMES = {"COEXIST_TEST_LONG", "COEXIST_REQUIRE_KAFKA", "COEXIST_"}


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert():
    entries = re.findall(r"^### (\w+)$", (ROOT / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(rule["alert"] for rule in ALERTS)


def test_the_runbook_says_of_every_alert_how_urgent_it_is():
    text = (ROOT / "RUNBOOK.md").read_text()
    for rule in ALERTS:
        entry = text.partition(f"### {rule['alert']}\n\n")[2]
        assert entry.lower().startswith(rule["labels"]["severity"]), rule["alert"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_settings_that_are_named_exist(page):
    text = page.read_text()
    for command in re.findall(r"`coexist ([a-z][a-z-]*)", text):
        assert command in main.commands, command
    settings = {f"COEXIST_{name.upper()}" for name in Settings.model_fields}
    for name in set(re.findall(r"\bCOEXIST_[A-Z_]*", text)) - OTHER_NAMES:
        family = name.endswith("_") and any(setting.startswith(name) for setting in settings)
        assert family or name.removesuffix("_FILE") in settings or name in settings, name


def test_every_test_that_the_security_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 40
    assert [name for name in sorted(named) if f"def {name}(" not in text] == []


def test_the_security_page_has_a_row_for_every_control():
    rows = re.findall(r"^\| ([ES][0-9]+) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert rows == [*(f"E{n}" for n in range(1, 18)), *(f"S{n}" for n in range(1, 9))]


def test_the_spanish_and_the_catalan_page_say_the_same_and_give_the_commands_of_the_english_one():
    shapes = []
    english = (ROOT / "README.md").read_text()
    for name in ("README.es.md", "README.ca.md"):
        text = (ROOT / name).read_text()
        shapes.append([line.split()[0] for line in text.splitlines() if line.startswith(("#", "-", "```"))])
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                command = re.split(r"\s{2,}#|…", line)[0].strip()
                assert command in english, command
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["README.md", "README.es.md", "README.ca.md"])
def test_a_subscriber_learns_where_the_api_is_described(name):
    assert "`/openapi.json`" in (ROOT / name).read_text()
