"""Only targets on the public internet may be called, however they are spelled."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests_hardened.ip_filter import (  # type: ignore[import-untyped]  # it has no types
    _is_ip_in_extra_blocked_ranges,
)
from ssrfguard import Policy

from tasks_api.domain.guard import (
    RefusedTarget,
    address_refusal,
    host_of,
    networks,
    parse_target,
)
from tests.corpus import ALLOWED_URLS, INSIDE, MALFORMED_URLS, OUTSIDE, REFUSED_URLS


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused(address: str) -> None:
    assert address_refusal(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_on_the_internet_is_not_refused(address: str) -> None:
    assert address_refusal(address) is None


@pytest.mark.parametrize("address", ["", "x", "127.1", "0x7f.1", "1.2.3.4.5"])
def test_a_malformed_address_is_refused(address: str) -> None:
    assert address_refusal(address)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_leads_inside_is_refused(url: str) -> None:
    with pytest.raises(RefusedTarget):
        parse_target(url, allow_private=False)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("url", MALFORMED_URLS)
def test_a_url_that_is_not_http_is_refused(url: object, private: bool) -> None:
    with pytest.raises(RefusedTarget):
        parse_target(url, allow_private=private)


@pytest.mark.parametrize("url", ALLOWED_URLS)
def test_an_honest_url_is_not_refused(url: str) -> None:
    target = parse_target(url, allow_private=False)

    assert target.host.isascii()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/x", "http://localhost/", "http://[::1]:80/"]
)
def test_private_targets_may_be_allowed(url: str) -> None:
    assert parse_target(url, allow_private=True).port


@given(
    st.text(st.characters(exclude_characters="/?#@")), st.text(max_size=3), st.text()
)
def test_whatever_is_accepted_others_can_take_apart(
    userinfo: str, middle: str, path: str
) -> None:
    url = f"http://{userinfo}@exam{middle}ple.com/{path}"
    with suppress(RefusedTarget):
        target = parse_target(url, allow_private=True)
        assert urlsplit(url).port is None or target.port
        assert "@" not in host_of(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:pw@example.com:8443/x?y=a@b", "example.com:8443"),
        ("http://us\uff03er:pw@127.0.0.1:8610/x", "127.0.0.1:8610"),
        ("http://[::1]@host/", "host"),
        ("http://user:pw@[::1]:80/", "[::1]:80"),
        ("", ""),
        ("garbage", ""),
        ("http://[", "["),
    ],
)
def test_a_host_is_shown_without_credentials_whatever_the_url(
    url: str, host: str
) -> None:
    assert host_of(url) == host


addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(addresses)
def test_no_oracle_refuses_what_we_permit(address: object) -> None:
    _agree(str(address))


@pytest.mark.parametrize("address", [*INSIDE, *OUTSIDE])
def test_no_oracle_refuses_what_we_permit_of_the_corpus(address: str) -> None:
    _agree(address)


def _agree(address: str) -> None:
    if address_refusal(address) is None:
        ip = ip_address(address)
        assert Policy().permits_address(ip)
        assert ip.is_global
        assert not _is_ip_in_extra_blocked_ranges(ip)


DENIED = "8.8.8.0/24, 2606:4700::/32,10.1.2.3"


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700:4700::1111",
        "10.1.2.3",
        # An IPv4 address inside an IPv6 one.
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_what_the_operator_denies_is_refused_with_private_targets_allowed_or_not(
    address: str, private: bool
) -> None:
    host = f"[{address}]" if ":" in address else address

    assert address_refusal(address, allow_private=private, denied=DENIED)
    with pytest.raises(RefusedTarget):
        parse_target(f"http://{host}/", allow_private=private, denied=DENIED)


def test_beside_what_is_denied_everything_is_as_before() -> None:
    assert address_refusal("8.8.9.1", denied=DENIED) is None
    assert address_refusal("10.1.2.4", denied=DENIED)
    assert address_refusal("10.1.2.4", allow_private=True, denied=DENIED) is None


@pytest.mark.parametrize(
    "text", ["8.8.8.8/24", "example.com", "1.2.3.4/33", "8.8.8.0-9"]
)
def test_a_malformed_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition("/")[0]):
        networks(f"10.0.0.0/8, {text}")


def test_no_networks_are_none() -> None:
    assert networks("") == networks(" , ") == ()
