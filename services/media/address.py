"""Where media may be fetched from, and to whom our token may go (reliability 3, "Media").

A download URL comes from Graph, and still nothing but Meta's hosts is asked: https only, the standard port, public
addresses, resolved once so that the address that was checked is the address that is used. The configured Graph host
is trusted as it is configured, so that Meta in a box on loopback can be used.
"""

import asyncio
import ipaddress
import re
import socket
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

HOSTS = frozenset({"lookaside.fbsbx.com", "graph.facebook.com"})
"""They are asked with our token."""
CDN = re.compile(r"([a-z0-9-]+\.)+fbcdn\.net")
"""Hosts like this are asked without it: their URLs are signed."""
HTTPS_PORT = 443
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str], Awaitable[list[str]]]


class Forbidden(Exception):
    """A URL that is not asked. `reason` in snake case; the URL itself is nobody's business."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """What to request: the URL with an address in the host's place, and the host that it is asked as."""

    url: httpx.URL
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)


def checked(url: str, graph: httpx.URL) -> httpx.URL:
    """The URL, if it may be asked at all. Raises Forbidden."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise Forbidden("forbidden_url") from None
    if parsed.userinfo:
        raise Forbidden("forbidden_url")
    known = parsed.host in HOSTS or CDN.fullmatch(parsed.host) is not None
    if is_graph(parsed, graph) or (known and parsed.scheme == "https" and parsed.port in (None, HTTPS_PORT)):
        return parsed
    raise Forbidden("forbidden_url")


def is_graph(url: httpx.URL, graph: httpx.URL) -> bool:
    """Is this the configured Graph host: the same scheme, host and port?"""
    return (url.scheme, url.host, url.port) == (graph.scheme, graph.host, graph.port)


def bears_token(url: httpx.URL, graph: httpx.URL) -> bool:
    """May our token go there?"""
    return is_graph(url, graph) or url.host in HOSTS


def is_public(address: str) -> bool:
    """Is this an address of the public internet? An IPv4 address inside an IPv6 one is judged as itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast and not found.is_reserved


async def resolved(host: str) -> list[str]:
    """The addresses of a host. Raises OSError when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, HTTPS_PORT, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("no name that can be looked up") from None
    return [str(address[0]) for *_, address in found]


def resolver() -> Resolve | None:
    """What resolves hosts here; None where the environment names a proxy for https, which then resolves."""
    proxies = urllib.request.getproxies_environment()
    return None if "https" in proxies or "all" in proxies else resolved


async def target(url: httpx.URL, graph: httpx.URL, resolve: Resolve | None) -> Target:
    """What to request for a checked URL; the configured Graph host is trusted as it is. See `pinned`."""
    return Target(url) if is_graph(url, graph) else await pinned(url, resolve)


async def pinned(url: httpx.URL, resolve: Resolve | None) -> Target:
    """Pin a URL to one public address of its host. Raises Forbidden or OSError.

    The certificate is still checked against the host. Without `resolve` a proxy resolves, and answers for it.
    """
    if resolve is None:
        return Target(url)
    name = url.raw_host.decode()
    addresses = await resolve(name)
    if not addresses or not all(is_public(address) for address in addresses):
        raise Forbidden("forbidden_address")
    chosen = min(addresses, key=lambda address: ":" in address)
    host = url.netloc.decode()
    return Target(url.copy_with(host=chosen), {"Host": host}, {"sni_hostname": name})
