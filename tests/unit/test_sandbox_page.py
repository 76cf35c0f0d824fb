"""The sandbox page without a browser: texts complete in every language, nothing inline or from elsewhere."""

import json
import re
from importlib.resources import files

import pytest

from services.sandbox.assets import page_file

PAGE = files("services.sandbox").joinpath("page")
SCRIPTS = ["app.js", "api.js", "chat.js", "i18n.js", "timeline.js"]


def text(name):
    return PAGE.joinpath(name).read_text("utf-8")


def keys(language):
    return json.loads(PAGE.joinpath("i18n", f"{language}.json").read_text("utf-8"))


@pytest.mark.parametrize("language", ["es", "ca"])
def test_every_text_stands_in_every_language_with_the_same_gaps(language):
    english, other = keys("en"), keys(language)
    assert list(english) == list(other)
    for key, value in english.items():
        assert other[key]
        assert set(re.findall(r"\{\w+\}", value)) == set(re.findall(r"\{\w+\}", other[key]))


def test_every_text_that_is_asked_for_exists():
    asked = set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', text("index.html")))
    for script in SCRIPTS:
        asked |= set(re.findall(r'\bt\("(\w+)"', text(script)))
    assert asked <= set(keys("en"))


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    html = text("index.html")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", html)
    for name in ["index.html", "style.css", *SCRIPTS]:
        found = re.findall(r"https?://[^\s\"']+", text(name))
        assert not found, name


def test_what_people_write_is_never_read_as_markup():
    for script in SCRIPTS:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text(script))


@pytest.mark.parametrize("path", ["../app.py", "", "i18n/../../app.py", "nothing.js", "i18n", "/etc/passwd"])
def test_only_files_of_the_page_are_served(path):
    assert page_file(path) is None


def test_files_are_served_with_their_type():
    assert page_file("i18n/ca.json")[1] == "application/json"
    assert page_file("app.js")[1] == "text/javascript"
