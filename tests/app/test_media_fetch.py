"""Fetching one media object over real HTTP from the sandbox, and over a transport where Meta's real hosts stand."""

import base64
from hashlib import sha256

import httpx
import pytest

from echo_sync.media import Fetch
from schemas.items import Media
from sender import graph
from services.media.fetch import Fetcher, Missed
from services.media.store import Part
from services.sandbox.contents import media_file
from tests.app.sandbox_receiver import NUMBER, post, sandbox
from tests.processes import DEFAULT_TOKEN

IMAGE = "920000000000001"
_, BYTES = media_file(IMAGE)
HEX = sha256(BYTES).hexdigest()
BASE64 = base64.b64encode(bytes.fromhex(HEX)).decode()
MEGABYTE = 1 << 20


def wanted(media_id=IMAGE, kind="image", sha=BASE64, mime_type="image/jpeg"):
    return Fetch(NUMBER, "wamid.1", kind, Media(id=media_id, sha256=sha, mime_type=mime_type), 1)


@pytest.fixture
async def meta():
    async with sandbox() as client:
        yield client


@pytest.fixture
async def client():
    async with graph.client() as http:
        yield http


@pytest.fixture
def fetcher(meta, client):
    return fetching(meta, client)


def fetching(meta, client, deadline_s=30):
    return Fetcher(client, str(meta.base_url).rstrip("/"), "v26.0", deadline_s=deadline_s, bytes_max=MEGABYTE)


async def outcome(fetcher, folder, call=None, token=DEFAULT_TOKEN):
    """What was fetched, or why nothing was; the folder is empty afterwards either way."""
    try:
        with Part(folder) as part:
            mime_type = await fetcher.fetch(call or wanted(), token, part)
            return mime_type, part.path.read_bytes(), part.sha256
    except Missed as missed:
        return missed.reason
    finally:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("told", [BASE64, HEX, HEX.upper(), ""])
async def test_media_is_fetched_and_its_hash_agrees_in_base64_and_in_hex(fetcher, tmp_path, told):
    assert await outcome(fetcher, tmp_path, wanted(sha=told)) == ("image/jpeg", BYTES, HEX)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("too_large", "too_large"),
        ("endless", "too_large"),
        ("cut", "unreachable"),
        ("redirect", "forbidden_url"),
        ("error500", "refused"),
        ("wrong_hash", "wrong_hash"),
    ],
)
async def test_every_trouble_of_a_download_is_a_reason_and_leaves_no_file(meta, fetcher, tmp_path, trouble, reason):
    await post(meta, "/faults", {"media_trouble": trouble})
    assert await outcome(fetcher, tmp_path) == reason


async def test_a_download_beyond_its_deadline_is_too_slow(meta, client, tmp_path):
    await post(meta, "/faults", {"media_trouble": "slow"})
    assert await outcome(fetching(meta, client, deadline_s=1), tmp_path) == "too_slow"


async def test_a_url_that_is_gone_is_asked_for_anew(meta, fetcher, tmp_path):
    await post(meta, "/faults", {"media_trouble": "expired"})
    assert (await outcome(fetcher, tmp_path))[1] == BYTES


async def test_a_url_that_is_always_gone_is_a_miss(meta, fetcher, tmp_path):
    await post(meta, "/faults", {"media_missing_p": 1})
    assert await outcome(fetcher, tmp_path) == "url_gone"


async def test_a_dead_id_and_a_refused_token_are_told_apart(fetcher, tmp_path):
    assert await outcome(fetcher, tmp_path, wanted("930000000000001")) == "unknown_id"
    assert await outcome(fetcher, tmp_path, token="another") == "token_refused"


async def test_what_is_no_image_is_not_taken_for_one(fetcher, tmp_path):
    assert await outcome(fetcher, tmp_path, wanted(mime_type="image/png")) == "wrong_type"
    found = await outcome(fetcher, tmp_path, wanted(kind="document", mime_type="application/pdf"))
    assert found[0] == "application/octet-stream"


async def test_a_host_that_is_not_there_is_a_miss(client, tmp_path):
    assert await outcome(Fetcher(client, "http://127.0.0.1:9", "v26.0"), tmp_path) == "unreachable"


# --- Meta's real hosts, which cannot be had here: what is asked of them, as whom, with which secrets


class Hosts:
    """A transport in the place of the internet. `pages`: the answer to each URL; `seen`: what was asked."""

    def __init__(self, **pages):
        self.pages, self.seen = pages, []

    async def __call__(self, request):
        self.seen.append(request)
        host = request.headers["host"]
        if host == "graph.facebook.com":
            told = {"sha256": HEX, "mime_type": "image/jpeg", "file_size": self.pages.get("size", 1)}
            return httpx.Response(200, json={"url": self.pages["lead"], **told})
        answer = self.pages[host.partition(".")[0]]
        return httpx.Response(302, headers={"location": answer}) if isinstance(answer, str) else answer

    def fetcher(self, *addresses):
        async def resolve(host):
            return list(addresses or ("157.240.5.60",))

        client = graph.client(httpx.MockTransport(self))
        return Fetcher(client, "https://graph.facebook.com", "v26.0", resolve=resolve)


def image():
    return httpx.Response(200, stream=httpx.ByteStream(BYTES))


async def test_lookaside_is_asked_at_the_address_that_was_checked_with_our_token(tmp_path):
    hosts = Hosts(lead="https://lookaside.fbsbx.com/a?mid=1", lookaside=image())
    assert (await outcome(hosts.fetcher(), tmp_path))[1] == BYTES
    about, asked = hosts.seen
    assert about.url.params["phone_number_id"] == NUMBER
    assert (asked.url.host, asked.headers["host"]) == ("157.240.5.60", "lookaside.fbsbx.com")
    assert asked.extensions["sni_hostname"] == "lookaside.fbsbx.com"
    assert asked.headers["authorization"] == f"Bearer {DEFAULT_TOKEN}"
    assert asked.headers["accept-encoding"] == "identity"


async def test_the_content_network_is_asked_without_our_token(tmp_path):
    hosts = Hosts(lead="https://scontent.xx.fbcdn.net/a", scontent=image())
    assert (await outcome(hosts.fetcher(), tmp_path))[1] == BYTES
    assert "authorization" not in hosts.seen[-1].headers


@pytest.mark.parametrize("size", ["9" * 5_000, "²", "-1", None, 1.5, True, [1]])
async def test_a_size_that_is_none_stops_nobody(tmp_path, size):
    hosts = Hosts(lead="https://scontent.xx.fbcdn.net/a", scontent=image(), size=size)
    assert (await outcome(hosts.fetcher(), tmp_path))[1] == BYTES


@pytest.mark.parametrize(
    ("lead", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "forbidden_url"),
        ("https://127.0.0.1/a", "forbidden_url"),
        ("http://lookaside.fbsbx.com/a", "forbidden_url"),
        ("https://evil.example/a", "forbidden_url"),
    ],
)
async def test_a_url_elsewhere_is_never_asked(tmp_path, lead, reason):
    hosts = Hosts(lead=lead)
    assert await outcome(hosts.fetcher(), tmp_path) == reason
    assert len(hosts.seen) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "::ffff:169.254.169.254", "fd00:ec2::254"])
async def test_a_name_of_metas_that_leads_inside_is_never_asked(tmp_path, address):
    hosts = Hosts(lead="https://lookaside.fbsbx.com/a", lookaside=image())
    assert await outcome(hosts.fetcher("157.240.5.60", address), tmp_path) == "forbidden_address"
    assert len(hosts.seen) == 1


@pytest.mark.parametrize(
    ("to", "found"),
    [
        ("https://lookaside.fbsbx.com/b", "redirected"),
        ("/again", "redirected"),
        ("https://scontent.xx.fbcdn.net/a", "redirected"),
        ("https://evil.example/a", "forbidden_url"),
        ("http://169.254.169.254/latest/meta-data/", "forbidden_url"),
        ("http://lookaside.fbsbx.com/a", "forbidden_url"),
    ],
)
async def test_redirects_stay_on_the_host_and_end(tmp_path, to, found):
    hosts = Hosts(lead="https://lookaside.fbsbx.com/a", lookaside=to, scontent=image())
    assert await outcome(hosts.fetcher(), tmp_path) == found
    assert {request.headers["host"] for request in hosts.seen[1:]} == {"lookaside.fbsbx.com"}
