"""Where Meta may be sent to fetch a file: https, and the public internet only.

Names are not resolved here, for it is Meta that fetches; but whoever writes commands must not be able to point
anybody at a private network.
"""

import ipaddress
import re
from typing import Annotated, Any

from schemas.fields import Rule, wrong

URL_CHARS_MAX = 2048
"""No limit is documented; what is longer is no address of a file but a file."""

_URL = re.compile(
    r"[Hh][Tt][Tt][Pp][Ss]://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?([/?#][^\s\\\x00-\x20\x7f]*)?"
)
_PRIVATE_NAMES = ("localhost", "local", "internal", "lan", "home.arpa", "onion", "test", "invalid")
"""Names that exist only inside a network or nowhere (RFC 6761, 6762, 8375, ICANN's .internal)."""
_TUNNELS = tuple(ipaddress.IPv6Network(net) for net in ("2002::/16", "2001::/32", "64:ff9b::/32", "::/16"))
"""IPv6 that carries an IPv4 address inside: 6to4, Teredo, NAT64, mapped and compatible."""
_PLAIN = "must be an https URL with a plain host, without user, blanks or backslashes"
_PUBLIC = "must name a host on the public internet"


def link(value: Any) -> Any:
    """Return the URL itself, when Meta may be sent there: https, and no address or name of a private network.

    Every other way to write an address (decimal, octal, hexadecimal, shortened, mapped into IPv6, behind a user or
    an escape) is refused too. Names beyond ASCII are written in their `xn--` form.
    """
    found = _URL.fullmatch(value) if isinstance(value, str) and len(value) <= URL_CHARS_MAX else None
    if found is None:
        raise wrong(_PLAIN)
    host = found[1].lower().removesuffix(".")
    if host.startswith("["):
        public = _public_v6(host[1:-1])
    elif re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        public = _public_v4(host)
    else:
        public = "." in host and not any(host.endswith("." + name) for name in _PRIVATE_NAMES)
    if not public:
        raise wrong(_PUBLIC)
    return value


def _public_v4(host: str) -> bool:
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _public_v6(host: str) -> bool:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _TUNNELS)


Link = Annotated[
    str,
    Rule(
        link,
        {
            "type": "string",
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]://",
            "maxLength": URL_CHARS_MAX,
            "description": "An https URL on the public internet; Meta fetches it when it sends.",
        },
    ),
]
