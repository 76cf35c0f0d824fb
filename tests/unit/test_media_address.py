"""Where media may be fetched from: a table of what is asked and what never is, and to whom our token goes."""

import httpx
import pytest

from services.media.address import Forbidden, bears_token, checked, is_public, resolver, target

GRAPH = httpx.URL("https://graph.facebook.com")
SANDBOX = httpx.URL("http://127.0.0.1:8082")
LOOKASIDE = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&hash=x"
CDN = "https://scontent-mad1-1.xx.fbcdn.net/v/t61.jpg?oh=1"


@pytest.mark.parametrize(
    "url",
    [LOOKASIDE, LOOKASIDE.upper(), CDN, "https://graph.facebook.com/v26.0/1", "https://lookaside.fbsbx.com:443/a"],
)
def test_metas_hosts_are_asked_over_https(url):
    assert checked(url, GRAPH).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/a",
        "ftp://lookaside.fbsbx.com/a",
        "file:///etc/passwd",
        "data:text/plain,hola",
        "//lookaside.fbsbx.com/a",
        "lookaside.fbsbx.com",
        "",
        "https://",
        "https://lookaside.fbsbx.com:8443/a",
        "https://lookaside.fbsbx.com:22/a",
        "https://user:password@lookaside.fbsbx.com/a",
        "https://lookaside.fbsbx.com@evil.example/a",
        "https://lookaside.fbsbx.com\\@evil.example/a",
        "https://evil.example\\.fbcdn.net/a",
        "https://evil.example#.fbcdn.net",
        "https://evil.example?x=.fbcdn.net",
        "https://evilfbcdn.net/a",
        "https://fbcdn.net/a",
        "https://fbcdn.net.evil.example/a",
        "https://lookaside.fbsbx.com.evil.example/a",
        "https://lookaside.fbsbx.com./a",
        "https://lookaside.fbsbx.com%2eevil.example/a",
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://2130706433/a",
        "https://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "https://metadata.google.internal/a",
        "https://localhost/a",
        "http://127.0.0.1:8082/a",
        "https://lookaside.fbsbx.com\n.evil.example/a",
    ],
)
def test_nothing_else_is_asked(url):
    with pytest.raises(Forbidden) as refused:
        checked(url, GRAPH)
    assert str(refused.value) == "forbidden_url"


def test_the_configured_graph_host_is_asked_as_it_is_configured_and_nothing_beside_it():
    assert checked("http://127.0.0.1:8082/sandbox/media/1", SANDBOX).port == 8082
    for other in (
        "https://127.0.0.1:8082/a",
        "http://127.0.0.1:8083/a",
        "http://127.0.0.1/a",
        "http://localhost:8082/a",
    ):
        with pytest.raises(Forbidden):
            checked(other, SANDBOX)


@pytest.mark.parametrize(
    ("url", "graph", "yes"),
    [
        (LOOKASIDE, GRAPH, True),
        ("https://graph.facebook.com/a", GRAPH, True),
        ("http://127.0.0.1:8082/a", SANDBOX, True),
        (CDN, GRAPH, False),
        ("http://127.0.0.1:8083/a", SANDBOX, False),
    ],
)
def test_our_token_goes_to_graph_and_lookaside_only(url, graph, yes):
    assert bears_token(httpx.URL(url), graph) is yes


@pytest.mark.parametrize("address", ["157.240.5.60", "2a03:2880:f145:82:face:b00c:0:25de", "::ffff:157.240.5.60"])
def test_addresses_of_the_public_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1"),
        *("192.0.0.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:7f00:1::"),
        *("", "localhost", "127.1", "0x7f.1", "2130706433"),
    ],
)
def test_private_local_reserved_and_disguised_addresses_are_not(address):
    assert not is_public(address)


def answers(*addresses):
    async def resolve(host):
        return list(addresses)

    return resolve


async def test_the_address_that_was_checked_is_the_address_that_is_used_under_the_hosts_own_name():
    at = await target(httpx.URL(LOOKASIDE), GRAPH, answers("2a03:2880::1", "157.240.5.60"))
    assert (at.url.host, at.url.path) == ("157.240.5.60", "/whatsapp_business/attachments/")
    assert at.headers == {"Host": "lookaside.fbsbx.com"}
    assert at.extensions == {"sni_hostname": "lookaside.fbsbx.com"}


@pytest.mark.parametrize("addresses", [(), ("127.0.0.1",), ("157.240.5.60", "10.0.0.1"), ("::ffff:169.254.169.254",)])
async def test_a_host_with_any_address_that_is_not_public_is_not_asked(addresses):
    with pytest.raises(Forbidden) as refused:
        await target(httpx.URL(CDN), GRAPH, answers(*addresses))
    assert refused.value.reason == "forbidden_address"


async def test_the_configured_graph_host_and_a_proxys_hosts_are_not_resolved_here():
    assert (await target(httpx.URL("http://127.0.0.1:8082/a"), SANDBOX, answers("10.0.0.1"))).headers == {}
    assert (await target(httpx.URL(LOOKASIDE), GRAPH, None)).url == httpx.URL(LOOKASIDE)


def test_without_a_proxy_in_the_environment_hosts_are_resolved_here(request):
    assert resolver() is not None
