"""What the tail answers is what was stored, or nothing: it never skips a record and never holds too many."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.ports import Event, Record
from services.sqlite.tail import RECORDS_MAX, Row, Tail

PLACES = ("inbound", 0), ("timeline", 0), ("timeline", 1)
ROWS = st.lists(st.tuples(st.sampled_from(PLACES), st.integers(1, RECORDS_MAX // 3)), max_size=30)


def decoded(row: Row, topic: str, partition: int) -> list[Record]:
    """Records of a row whose id is the offset of its last record."""
    last, count, appended_at, _ = row
    event = Event("e", "webhook.message", "1", b"{}", 0, 0)
    return [Record(topic, partition, offset, event, appended_at) for offset in range(last - count + 1, last + 1)]


def filled(rows: list[tuple[tuple[str, int], int]]) -> tuple[Tail, dict[tuple[str, int], list[int]]]:
    """A tail, and the first offset of each of its rows and their end, by place."""
    tail = Tail(decoded)
    bounds: dict[tuple[str, int], list[int]] = {place: [0] for place in PLACES}
    for place, count in rows:
        first = bounds[place][-1]
        tail.add(place, first, (first + count - 1, count, 1.0, b""))
        bounds[place].append(first + count)
    return tail, bounds


@given(ROWS, st.integers(1, 5_000))
def test_what_is_read_from_a_rows_first_offset_goes_on_without_a_gap(
    rows: list[tuple[tuple[str, int], int]], limit: int
) -> None:
    tail, bounds = filled(rows)
    for place in PLACES:
        end = bounds[place][-1]
        for first in bounds[place]:
            found = tail.read(place, first, end, limit)
            assert [record.offset for record in found] == list(range(first, first + len(found)))
            assert not found or first + len(found) in bounds[place]
            assert len(found) >= limit or not found or first + len(found) == end


@given(ROWS)
def test_the_newest_row_is_always_there_and_no_more_records_than_the_limit(
    rows: list[tuple[tuple[str, int], int]],
) -> None:
    tail, bounds = filled(rows)
    kept = sum(len(tail.read(place, first, bounds[place][-1], 1)) for place in PLACES for first in bounds[place][:-1])
    assert kept <= RECORDS_MAX
    if rows:
        place = rows[-1][0]
        assert tail.read(place, bounds[place][-2], bounds[place][-1], 1)


def test_nothing_is_read_that_is_not_durable_yet() -> None:
    tail, _ = filled([(PLACES[0], 3), (PLACES[0], 2)])
    assert [record.offset for record in tail.read(PLACES[0], 0, 3, 100)] == [0, 1, 2]
    assert tail.read(PLACES[0], 3, 3, 100) == []


def test_nothing_is_left_once_what_is_stored_has_changed() -> None:
    tail, _ = filled([(PLACES[0], 3)])
    tail.clear()
    assert tail.read(PLACES[0], 0, 3, 100) == []
