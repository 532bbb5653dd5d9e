"""Check targets: read URLs strictly, and allow only public addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import quote, unquote_to_bytes

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

# Programs that skip, strip or replace one of these may see different hosts in a URL.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\s\\\ud800-\udfff]")
_URL = re.compile(
    r"(https?)://"
    r"(?:([^@/?#]*)@)?"
    r"(\[[^]@/?#]*]|[^][@:/?#]+)"
    r"(?::([0-9]{0,5}))?"
    r"([/?][^#]*)?"
    r"(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")
# inet_aton reads a name with such a last label as an address: 127.1, 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IDNA 2003, which Python has, and IDNA 2008 encode these as different names.
_AMBIGUOUS = re.compile("[ßς\u200c\u200d]", re.IGNORECASE)

# The IANA special-purpose registries of 2026, multicast, and each network that carries
# an IPv4 address in an IPv6 one, because a gateway may unwrap it. The list is written
# out because `ipaddress.is_global` differs between Python versions.
_SPECIAL = [
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "Unspecified"),
        ("10.0.0.0/8", "Private"),
        ("100.64.0.0/10", "Shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "Loopback"),
        # Azure's own services, which answer inside its machines only.
        ("168.63.129.16/32", "Cloud-internal"),
        ("169.254.0.0/16", "Link-local"),
        ("172.16.0.0/12", "Private"),
        ("192.0.0.0/24", "Reserved"),
        ("192.0.2.0/24", "Documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "Multicast-relay"),
        ("192.88.99.0/24", "6to4-relay"),
        ("192.168.0.0/16", "Private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "Benchmarking"),
        ("198.51.100.0/24", "Documentation"),
        ("203.0.113.0/24", "Documentation"),
        ("224.0.0.0/4", "Multicast"),
        ("240.0.0.0/4", "Reserved"),
        ("::/128", "Unspecified"),
        ("::1/128", "Loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "Reserved"),
        ("2001:db8::/32", "Documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "Documentation"),
        ("fc00::/7", "Private"),
        ("fe80::/10", "Link-local"),
        ("fec0::/10", "Site-local"),
        ("ff00::/8", "Multicast"),
    )
]
# IANA has allocated no other part of IPv6, so every address outside is special.
_GLOBAL_IPV6 = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")

Network = IPv4Network | IPv6Network


_AUTHORITY_ENDS = re.compile(r"[/?#]")


def host_of(url: str) -> str:
    """Return the host and port of a URL as written, without its credentials.

    Accepts any text, also a URL that was stored under older rules.
    """
    authority = _AUTHORITY_ENDS.split(url.partition("://")[2], maxsplit=1)[0]
    return authority.rpartition("@")[2]


def replace_host(url: str, host: str) -> str:
    """Return the URL with another host and port; the rest stays as it is written."""
    scheme, separator, rest = url.partition("://")
    authority = _AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    kept = authority.removesuffix(host_of(url))
    return f"{scheme}{separator}{kept}{host}{rest[len(authority) :]}"


class RefusedTarget(ValueError):
    """The target may not be called; the text is a sentence for the tenant."""


@dataclass(frozen=True)
class Target:
    """The target of a URL; `host` is for the resolver, ASCII and without brackets."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True)
class WireUrl:
    """The parts of a URL for sending, which have only one reading."""

    target: Target
    is_address: bool
    credentials: tuple[bytes, bytes] | None
    path: str

    @cached_property
    def origin(self) -> str:
        target = self.target
        host = f"[{target.host}]" if ":" in target.host else target.host
        return f"{target.scheme}://{host}:{target.port}/"


@lru_cache(maxsize=16)
def networks(text: str) -> tuple[Network, ...]:
    """Read networks and addresses with commas between; ValueError names a wrong one."""
    listed = (item.strip() for item in text.split(","))
    return tuple(ip_network(item) for item in listed if item)


def parse_target(url: object, *, allow_private: bool, denied: str = "") -> Target:
    """Return the target of a URL; raise RefusedTarget if it may not be called."""
    return read_url(url, allow_private=allow_private, denied=denied).target


def read_url(url: object, *, allow_private: bool, denied: str = "") -> WireUrl:
    """Read a URL; raise RefusedTarget if it may not be called.

    `denied` lists networks that are refused even if private targets are allowed.
    """
    if not isinstance(url, str):
        raise RefusedTarget("The URL must be a string.")
    return _read_text(url, allow_private, denied)


@lru_cache(maxsize=4096)
def _read_text(url: str, allow_private: bool, denied: str) -> WireUrl:
    if len(url) > MAX_URL_LENGTH:
        raise RefusedTarget(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _FORBIDDEN.search(url):
        raise RefusedTarget(
            "The URL contains white space, a control character or a backslash."
        )
    if not (match := _URL.fullmatch(url)):
        raise RefusedTarget("The URL must be absolute, http or https, with a host.")

    scheme, userinfo, host_text, port, path = match.groups()
    scheme = scheme.lower()
    host, is_address = _read_host(host_text)
    if refusal := _host_refusal(host, is_address, allow_private, denied):
        raise RefusedTarget(refusal)
    return WireUrl(
        Target(scheme, host, _read_port(port) or DEFAULT_PORTS[scheme]),
        is_address,
        _read_userinfo(userinfo),
        _read_path(path or "/"),
    )


@lru_cache(maxsize=4096)
def address_refusal(
    address: str, *, allow_private: bool = False, denied: str = ""
) -> str | None:
    """Return why this IP address is refused, or None if it is allowed."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "This is not an IP address."
    if any(form in network for network in networks(denied) for form in _forms(ip)):
        return "Addresses that the operator denies may not be called."
    return None if allow_private else _special_refusal(ip)


def _forms(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return an address, and the IPv4 address in it that a gateway may unwrap."""
    if isinstance(ip, IPv4Address):
        return [ip]
    inner = ip.ipv4_mapped or ip.sixtofour
    if ip in _NAT64 or ip in _COMPATIBLE:
        inner = IPv4Address(ip.packed[-4:])
    return [ip] if inner is None else [ip, inner]


def _special_refusal(ip: IPv4Address | IPv6Address) -> str | None:
    for network, kind in _SPECIAL:
        if ip in network:
            return f"{kind} addresses may not be called."
    if isinstance(ip, IPv6Address) and (ip not in _GLOBAL_IPV6 or ip.scope_id):
        return "Reserved addresses may not be called."
    return None


@lru_cache(maxsize=4096)
def _read_host(text: str) -> tuple[str, bool]:
    """Return the host for the resolver, and whether it is an address, not a name."""
    if text.startswith("["):
        return _read_ipv6(text[1:-1]), True
    if _AMBIGUOUS.search(text):
        raise RefusedTarget("The host of the URL must be given in its xn-- form.")
    try:
        name = text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise RefusedTarget("The host of the URL is not a valid name.") from None
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise RefusedTarget("The host of the URL is not a valid name.")
    if _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]):
        return _read_ipv4(name), True
    return name, False


def _read_ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise RefusedTarget(
            "The IPv4 address in the URL must have four decimal parts."
        ) from None


def _read_ipv6(text: str) -> str:
    # A zone names a network interface of this machine, which no tenant may choose.
    if "%" in text:
        raise RefusedTarget("The IPv6 address in the URL must not have a zone.")
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise RefusedTarget("The IPv6 address in the URL is not valid.") from None


def _host_refusal(
    host: str, is_address: bool, allow_private: bool, denied: str
) -> str | None:
    if is_address:
        return address_refusal(host, allow_private=allow_private, denied=denied)
    name = host.rstrip(".")
    if not allow_private and (name == "localhost" or name.endswith(".localhost")):
        return "Loopback addresses may not be called."
    return None


def _read_port(digits: str | None) -> int | None:
    if not digits:
        return None
    port = int(digits)
    if not 0 < port < 65536:
        raise RefusedTarget("The port in the URL must be between 1 and 65535.")
    return port


def _read_userinfo(userinfo: str | None) -> tuple[bytes, bytes] | None:
    if userinfo is None:
        return None
    # Other programs refuse such credentials, or read a part of them as the host.
    if not userinfo.isascii() or "[" in userinfo or "]" in userinfo:
        raise RefusedTarget(
            "The credentials in the URL must be ASCII without brackets; "
            "write other characters as percent escapes."
        )
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user), unquote_to_bytes(password)
    # RFC 7617: Basic authentication cannot carry control characters.
    if any(byte < 0x20 or byte == 0x7F for part in pair for byte in part):
        raise RefusedTarget("The credentials in the URL contain a control character.")
    return pair


_VISIBLE_ASCII = bytes(range(0x21, 0x7F)).decode()


def _read_path(path: str) -> str:
    path = path if path.startswith("/") else f"/{path}"
    # Existing escapes stay as they are, and so does a single percent sign.
    return path if path.isascii() else quote(path, safe=_VISIBLE_ASCII)
