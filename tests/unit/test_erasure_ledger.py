"""The ledger of erasures: a file that only grows, whatever a crash leaves at its end."""

import pytest

from echo_sync.erasures import Mark
from services.privacy.ledger import Entry, ErasureLedger


def entry(n):
    return Entry(f"e{n}", "8", 1_790_000_000.0 + n, [Mark(f"{n:032x}", person=True)], "operator")


@pytest.mark.parametrize("left", [1, 10, 60])
def test_a_line_that_a_crash_has_cut_takes_no_later_one_with_it(tmp_path, left):
    path = tmp_path / "erasures.jsonl"
    ledger = ErasureLedger(path)
    for n in (1, 2):
        ledger.note(entry(n))
    first = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(path.read_bytes()[: len(first) + left])
    ledger.note(entry(3))
    assert [found.id for found in ledger.lines()] == ["e1", "e3"]
    assert path.read_bytes().count(b"\n") == 3
