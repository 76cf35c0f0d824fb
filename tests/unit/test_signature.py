"""The signature of a webhook (Meta contract 1.2; reliability E1 to E3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.signature import sign, verify

SECRET = b"coexist-demo-secret"
VECTORS = [
    (
        b'{"object":"whatsapp_business_account","entry":[]}',
        "ad9b302abf87bd3466aa5f29fcf13b67ce2360e681cab617fe1116acdf9d0d08",
    ),
    (
        b'{"object": "whatsapp_business_account", "entry": []}',
        "7d4bc9851a1ea3705cbf73119b578f3ab4ff2b8a4e59b85e9bf13dfcdbed6428",
    ),
    (
        (
            rb'{"object":"whatsapp_business_account","entry":[{"id":"700000000000001","changes":[{"field":"messages",'
            rb'"value":{"t":"caf\u00e9 \ud83d\ude00 a\/b"}}]}]}'
        ),
        "a29f1c2b041f7ce83909c38d79d3a8b7437152bf73d68abd5416729ab3411e2d",
    ),
    (
        '{"object":"whatsapp_business_account","entry":[{"id":"700000000000001","changes":[{"field":"messages",'
        '"value":{"t":"café 😀 a/b"}}]}]}'.encode(),
        "d410114e6047b52948cc1cf5e2df0f692d326f62929f2f02dd889667dd518ee3",
    ),
]


@pytest.mark.parametrize(("body", "digest"), VECTORS)
def test_the_vectors_of_the_contract_hold(body, digest):
    assert sign(body, SECRET) == f"sha256={digest}"
    assert verify([f"sha256={digest}".encode()], body, [SECRET]) == 0


def test_equal_json_in_other_bytes_has_another_signature():
    (escaped, digest), (raw, _) = VECTORS[2], VECTORS[3]
    assert verify([f"sha256={digest}".encode()], escaped, [SECRET]) == 0
    assert verify([f"sha256={digest}".encode()], raw, [SECRET]) is None


def test_the_index_of_the_matching_secret_is_told():
    header = sign(b"{}", b"new").encode()
    assert verify([header], b"{}", [b"old", b"new"]) == 1
    assert verify([header], b"{}", [b"new", b"new"]) == 0
    assert verify([header], b"{}", [b"old"]) is None
    assert verify([header], b"{}", []) is None


class Offered(list[bytes]):
    """Secrets that count how many of them were taken."""

    taken = 0

    def __iter__(self):
        for secret in super().__iter__():
            self.taken += 1
            yield secret


@pytest.mark.parametrize("signer", [b"first", b"second", b"third", b"none of them"])
def test_every_secret_is_tried_whichever_matches(signer):
    secrets = Offered([b"first", b"second", b"third"])
    verify([sign(b"{}", signer).encode()], b"{}", secrets)
    assert secrets.taken == 3


GOOD = sign(b"{}", SECRET).encode()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [GOOD, GOOD],
        [GOOD, b"x"],
        [GOOD.upper()],
        [GOOD[:-1]],
        [GOOD + b"0"],
        [GOOD + b"\n"],
        [b" " + GOOD],
        [GOOD.replace(b"sha256=", b"sha1=")],
        [GOOD[7:]],
        [b"sha256=" + b"g" * 64],
        [b"sha256=" + "é".encode() * 32],
        [b"sha256=" + b"\xff" * 64],
    ],
)
def test_anything_but_one_header_in_one_form_is_refused(headers):
    assert verify(headers, b"{}", [SECRET]) is None


@given(st.lists(st.binary(max_size=80), max_size=3), st.binary(max_size=50))
def test_no_header_raises(headers, body):
    assert verify(headers, body, [SECRET]) is None


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=40))
def test_what_is_signed_verifies(body, secret):
    assert verify([sign(body, secret).encode()], body, [b"another secret entirely", secret]) is not None
