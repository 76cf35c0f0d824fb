"""How often who was refused: an allowance per address, in a table that does not grow."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.refusals import HANDSHAKES, Allowance, Clients, Refusals

KEY = bytes(16)
A = "203.0.113.7"
STEPS = st.lists(st.floats(0, 30), max_size=200)


@given(STEPS, st.integers(1, 20), st.floats(0.1, 10))
def test_in_any_stretch_of_time_no_more_than_the_burst_and_the_rate_are_let_through(steps, burst, every_s):
    refusals, now, let_through = Refusals(Allowance(burst, every_s), KEY), 1000.0, []
    for step in steps:
        now += step
        if not refusals.wait_s(A, now):
            let_through.append(now)
            refusals.add(A, now)
    for first, begin in enumerate(let_through):
        for count, end in enumerate(let_through[first:], 1):
            assert count <= burst + (end - begin) / every_s + 1e-6


@given(STEPS, st.integers(1, 20), st.floats(0.1, 10))
def test_whoever_waits_as_long_as_told_is_let_through_once_more(steps, burst, every_s):
    refusals, now = Refusals(Allowance(burst, every_s), KEY), 1000.0
    for step in steps:
        now += step
        refusals.add(A, now)
    wait_s = refusals.wait_s(A, now)
    assert 0 <= wait_s <= every_s + 1e-6
    assert refusals.wait_s(A, now + wait_s + 1e-6) == 0


def test_who_was_refused_often_is_known_for_half_the_time_in_which_all_is_forgotten():
    refusals = Refusals(Allowance(10, 2), KEY)
    for count in range(1, 11):
        refusals.add(A, 1000)
        assert refusals.often(A, 1000) == (count > 5)
    assert refusals.often(A, 1009)
    assert not refusals.often(A, 1010)


def test_another_address_is_not_held_up_and_a_whole_subscriber_is():
    refusals = Refusals(HANDSHAKES, KEY)
    for address in (A, "2001:db8:1:2::5", "::ffff:198.51.100.1"):
        for _ in range(HANDSHAKES.burst):
            refusals.add(address, 1000)
    held_up = (A, "2001:db8:1:2:3::9", "198.51.100.1", f"::ffff:{A}")
    free = ("203.0.113.8", "2001:db8:1:3::5", "198.51.100.2", "::ffff:198.51.100.2", "")
    assert all(refusals.wait_s(address, 1000) for address in held_up)
    assert not any(refusals.wait_s(address, 1000) for address in free)


def test_nobody_who_does_not_know_the_key_chooses_whose_place_he_shares():
    places = {Refusals(HANDSHAKES)._place(A) for _ in range(50)}
    assert len(places) > 40


@given(st.text(max_size=300))
def test_what_is_no_address_is_counted_all_the_same(address):
    refusals = Refusals(Allowance(1, 5), KEY)
    refusals.add(address, 1000)
    assert refusals.wait_s(address, 1000) == 5


def scope(*forwarded, client=("192.0.2.1", 1)):
    return {"client": client, "headers": [(b"x-forwarded-for", value) for value in forwarded]}


def test_the_address_is_the_peers_or_the_one_that_the_outermost_trusted_proxy_saw():
    assert Clients().address(scope(b"1.1.1.1")) == "192.0.2.1"
    assert Clients().address(scope(client=None)) == ""
    assert Clients(1).address(scope(b"6.6.6.6, 1.1.1.1")) == "1.1.1.1"
    assert Clients(2).address(scope(b"6.6.6.6,1.1.1.1", b"10.0.0.1")) == "1.1.1.1"
    assert Clients(1).address(scope(b"6.6.6.6,\xff")) == "\xff"
    for short in ((), (b"",), (b"10.0.0.1",)):
        assert Clients(2).address(scope(*short)) == "192.0.2.1"
