"""Where a relay may send: https to public addresses, unless the operator has named the host.

The host is resolved for every attempt and the request goes to the very address that was checked, so a name that
changes its address between the two gains nothing. Redirects are not followed. `COEXIST_RELAY_HOSTS` names hosts
(`name` or `name:port`) of the operator's own network: they may be private, and speak plain http.
"""

import asyncio
from collections.abc import Sequence

import httpx

from services.media.address import Forbidden, Resolve, Target, pinned

HTTPS_PORT = 443
RESOLVE_S = 5.0
"""What a name gets to resolve before a relay is added; who does not answer then is asked at each attempt."""
PRIVATE = "the url's host has a private address, which is asked only if COEXIST_RELAY_HOSTS names the host"
WHY = {
    "forbidden_address": PRIVATE,
    "forbidden_url": "the url is not one that a relay may ask, such as http:// to a host that COEXIST_RELAY_HOSTS does "
    "not name",
    "unreachable": "its host does not answer",
    "too_slow": "it does not answer in time",
}
"""What a courier's word for an attempt without an answer means."""


class WrongAddress(ValueError):
    """This URL cannot be a relay's; the message says why and what to do."""


def checked(url: str, hosts: Sequence[str]) -> httpx.URL:
    """The URL, if a relay may send there as far as its text tells. Raises WrongAddress."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise WrongAddress("the url cannot be read") from None
    if not _is_name(parsed.raw_host.decode()):
        raise WrongAddress("the url's host is no name that can be looked up")
    if not parsed.host or parsed.userinfo or parsed.fragment:
        raise WrongAddress("the url must be https://host/path, without a user, a password or a fragment")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and is_own(parsed, hosts)):
        raise WrongAddress("the url must begin with https://, or its host be named in COEXIST_RELAY_HOSTS")
    return parsed


def _is_name(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


async def reachable(url: str, hosts: Sequence[str], resolve: Resolve | None) -> None:
    """Raises WrongAddress where a courier would refuse to ask, as things are; a name without an address may get one."""
    checked(url, hosts)
    try:
        async with asyncio.timeout(RESOLVE_S):
            await target(url, hosts, resolve)
    except Forbidden as problem:
        raise WrongAddress(WHY[problem.reason]) from None
    except OSError:
        return


def is_own(url: httpx.URL, hosts: Sequence[str]) -> bool:
    """Has the operator named this host, with its port or without one?"""
    port = url.port or (HTTPS_PORT if url.scheme == "https" else 80)
    return url.host in hosts or f"{url.host}:{port}" in hosts


async def target(url: str, hosts: Sequence[str], resolve: Resolve | None) -> Target:
    """What to request for an attempt. Raises Forbidden, or OSError when the host has no address."""
    try:
        parsed = checked(url, hosts)
    except WrongAddress:
        raise Forbidden("forbidden_url") from None
    return Target(parsed) if is_own(parsed, hosts) else await pinned(parsed, resolve)
