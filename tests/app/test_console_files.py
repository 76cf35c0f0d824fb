"""The files of the operator page: small, complete in three languages, and served so that nothing else can creep in."""

import json
import re
from pathlib import Path

import pytest

from tests.app.rig import service

PAGE = Path(__file__).parents[2] / "services" / "console"
PAGE_BYTES_MAX = 150_000


def files():
    return [path for path in PAGE.rglob("*") if path.suffix in {".html", ".js", ".css", ".json", ".svg"}]


def address(path):
    shown = path.relative_to(PAGE).as_posix()
    return "/" if shown == "index.html" else f"/console/static/{shown}"


# --- the files


def test_the_whole_page_weighs_less_than_150_kb():
    assert sum(path.stat().st_size for path in files()) < PAGE_BYTES_MAX


def test_the_page_names_no_other_host_and_has_nothing_inline():
    for path in files():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
        assert "insertAdjacentHTML" not in text, path
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", html)


def test_the_three_languages_have_the_same_keys_and_the_same_holes():
    texts = [json.loads((PAGE / "i18n" / f"{language}.json").read_text()) for language in ("en", "es", "ca")]
    for other in texts[1:]:
        assert list(other) == list(texts[0])
        for key, text in texts[0].items():
            assert sorted(re.findall(r"\{\w+\}", other[key])) == sorted(re.findall(r"\{\w+\}", text)), key
            assert other[key].strip()


def test_every_text_the_page_names_exists_and_none_is_unused():
    texts = json.loads((PAGE / "i18n" / "en.json").read_text())
    code = "\n".join(path.read_text() for path in files() if path.suffix in {".js", ".html"})
    named = set(re.findall(r'\bt\("(\w+)"', code))
    named |= set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', code))
    assert named <= set(texts)
    begun = set(re.findall(r"\bt\(`(\w+_)\$", code)) | {f"{word}_" for word in re.findall(r'\bword\("(\w+)"', code)}
    unused = [key for key in texts if not key.startswith(tuple(begun)) and not re.search(rf'["`]{key}["`]', code)]
    assert unused == []


async def test_every_file_has_the_headers_and_an_etag_that_saves_the_second_download(tmp_path):
    async with service(tmp_path, roles=()) as rig:
        for path in files():
            answer = await rig.admin.get(address(path))
            assert answer.status_code == 200, path
            assert answer.content == path.read_bytes()
            assert answer.headers["cache-control"] == "no-cache"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            again = await rig.admin.get(address(path), headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["assets.py", "nothing.js", "../api.py", "%2e%2e/api.py", "views/"])
async def test_only_files_of_the_page_are_served(tmp_path, path):
    async with service(tmp_path, roles=()) as rig:
        assert (await rig.admin.get(f"/console/static/{path}")).status_code == 404


async def test_the_page_itself_needs_no_token_and_everything_it_asks_does(tmp_path):
    async with service(tmp_path, roles=(), about={"admin_token": "t" * 32}) as rig:
        assert (await rig.admin.get("/")).status_code == 200
        assert (await rig.admin.get("/console/static/app.js")).status_code == 200
        for path in ("/v1/overview", "/v1/health", "/v1/sends", "/v1/dead-letters", "/v1/topics", "/v1/limits"):
            assert (await rig.admin.get(path)).status_code == 401, path
            answer = await rig.admin.get(path, headers={"Authorization": f"Bearer {'t' * 32}"})
            assert answer.status_code == 200, path
