"""Secrets of relays at rest: what is stored tells nothing, and what no key opens is never used to sign."""

from hypothesis import given
from hypothesis import strategies as st

from services.relays.secrets import PREFIX, RelaySecrets
from services.relays.signature import new_secret
from services.relays.state import GONE, SEALED, WORKING, Relay
from services.sealing.keys import Sealer

KEYS = [bytes([n]) * 32 for n in range(3)]
SECRETS = st.lists(st.builds(new_secret), min_size=1, max_size=2)


def relay(secrets, relay_id="one", because=WORKING):
    return Relay(relay_id=relay_id, secrets=secrets, paused_because=because)


@given(SECRETS, st.permutations(KEYS), st.permutations(KEYS))
def test_what_was_sealed_is_opened_under_any_of_the_keys_and_says_nothing(secrets, before, after):
    stored = RelaySecrets(Sealer(before)).sealed(relay(secrets))
    assert all(secret.startswith(PREFIX) for secret in stored.secrets)
    assert not [secret for secret in secrets if any(secret in one for one in stored.secrets)]
    now = RelaySecrets(Sealer(after))
    assert now.usable(now.opened(stored)).secrets == secrets
    assert now.is_current(stored) == (before[0] == after[0])
    assert now.is_current(now.sealed(now.opened(stored)))


@given(SECRETS)
def test_without_a_key_they_stay_as_they_are_and_with_one_they_are_to_be_sealed(secrets):
    assert RelaySecrets(Sealer([])).sealed(relay(secrets)).secrets == secrets
    assert RelaySecrets(Sealer([])).is_current(relay(secrets))
    assert not RelaySecrets(Sealer(KEYS)).is_current(relay(secrets))


@given(SECRETS, st.sampled_from([WORKING, GONE]))
def test_what_no_key_opens_is_kept_and_not_used(secrets, because):
    stored, other = (
        RelaySecrets(Sealer(KEYS[:1])).sealed(relay(secrets, because=because)),
        RelaySecrets(Sealer(KEYS[1:])),
    )
    opened = other.opened(stored)
    assert (other.usable(opened).secrets, other.usable(opened).paused_because) == ([], because or SEALED)
    fresh = new_secret()
    rotated = other.sealed(relay([fresh, *opened.secrets]))
    assert other.usable(other.opened(rotated)).secrets == [fresh]
    assert RelaySecrets(Sealer(KEYS)).opened(rotated).secrets == [fresh, *secrets]


@given(SECRETS)
def test_one_relays_secret_does_not_open_in_anothers_place(secrets):
    here = RelaySecrets(Sealer(KEYS))
    stored = here.sealed(relay(secrets))
    assert here.usable(here.opened(relay(stored.secrets, "two"))).secrets == []
