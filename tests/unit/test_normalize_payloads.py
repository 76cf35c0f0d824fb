"""Every shape of Meta's that we know: a body and the facts in it (Meta contract 1.9, 3, 4, 5, 9, A)."""

import json
from pathlib import Path

import pytest

from ingest.normalize import normalize

CASES = sorted((Path(__file__).parent.parent / "payloads").glob("*.json"))
RECEIVED_AT = 1790009999.5


def load(path):
    return json.loads(path.read_text())


def body_of(case):
    return json.dumps(case["body"]).encode()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_facts_are_as_expected(path):
    case = load(path)
    found = normalize(body_of(case), RECEIVED_AT)
    told = [(topic, event.type, event.number) for topic, event in found]
    assert told == [(e["topic"], e["type"], e["number"]) for e in case["expect"]]
    for (_, event), expected in zip(found, case["expect"], strict=True):
        data = json.loads(event.data)
        assert {key: data.get(key) for key in expected["data"]} == expected["data"]
        assert (event.at, event.recorded_at) == (data["at"], RECEIVED_AT)
        assert event.subject == data.get("message_id", "")
        assert data["number"] == event.number


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_ids_derive_from_the_fact_alone(path):
    case = load(path)
    body = case["body"]
    first = [event.id for _, event in normalize(body_of(case), RECEIVED_AT)]
    spaced = json.dumps(body, indent=3, ensure_ascii=False).encode()
    again = [event.id for _, event in normalize(spaced, RECEIVED_AT + 86_400)]
    assert first == again
    assert len(set(first)) == len(first) or len({json.dumps(e) for e in case["expect"]}) < len(first)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_fragment_of_each_item_is_kept_byte_for_byte(path):
    body = body_of(load(path))
    for _, event in normalize(body, RECEIVED_AT):
        written = event.data.partition(b'"raw":')[2][:-1]
        assert written
        assert written in body


def test_there_are_cases_enough():
    assert len(CASES) >= 90
