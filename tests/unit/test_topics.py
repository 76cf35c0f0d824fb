"""Where a key lies, and what topics promise."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import CONVERSATIONS, PARTITIONS_DEFAULT, TOPICS, murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # the vectors of Kafka's own test of its Java client; that hash is signed
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafkas_java_client(key, hashed):
    assert murmur2(key.encode()) == hashed % 2**32
    assert partition_of(key, 12) == (hashed & 0x7FFFFFFF) % 12


@given(st.text(), st.integers(1, 1000))
def test_every_key_has_one_partition_that_exists(key, partitions):
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(key, partitions)


def test_numbers_spread_over_all_partitions():
    numbers = [str(800000000000000 + n) for n in range(1000)]
    assert {partition_of(number, PARTITIONS_DEFAULT) for number in numbers} == set(range(PARTITIONS_DEFAULT))


def test_a_sequenced_topic_has_exactly_one_writing_processor():
    writers = [topic.writer for topic in TOPICS.values() if topic.sequenced]
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", writer) for writer in writers)


def test_only_conversations_is_compacted():
    assert [topic.name for topic in TOPICS.values() if topic.retention_s is None] == [CONVERSATIONS]


def test_topic_names_are_lower_case_words_with_hyphens():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in TOPICS)
    assert all(name == topic.name for name, topic in TOPICS.items())
