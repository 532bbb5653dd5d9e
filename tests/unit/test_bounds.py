"""Bounds let through what they name, and grow only narrower."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain import guard
from tasks_api.domain.bounds import AMOUNTS, LISTS, Bounds, is_below, read_host
from tasks_api.domain.exceptions import OutOfBounds
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOSTS = ("a.example", "b.example", "a.example:8443", "10.0.0.1", "[2001:db8::1]")
PATHS = ("/", "/a", "/a/", "/a/b", "/b/")
METHODS = ("GET", "POST", "DELETE")


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(values), unique=True).map(tuple)


bounds = st.builds(
    Bounds,
    hosts=some(HOSTS),
    paths=some(PATHS),
    methods=some(METHODS),
    tags=st.lists(st.sampled_from("xyz"), unique=True).map(tuple),
    **{name: st.none() | st.integers(1, 5) for name in AMOUNTS},
)
# Pieces of which hostile URLs are made.
pieces = st.sampled_from(
    [
        "a.example", "b.example", "evil.example", "A.EXAMPLE", "a.example.", "10.0.0.1",
        ":8443", ":443", ":80", ":", "@", "/", "//", "?", "#", "\\", "..", ".", "%2e",
        "%2f", "%5c", ";", "a", "b", "[", "]", "::1", "2001:db8::1", " ", "\t", "é", "\uff41",
    ]
)  # fmt: skip
urls = st.tuples(
    st.sampled_from(["http://", "https://", "HTTP://", "http:/", "//"]),
    st.lists(pieces, min_size=1, max_size=9).map("".join),
).map("".join)


def allows(bound: Bounds, method: str, url: str) -> bool:
    try:
        bound.require_request(method, url)
    except OutOfBounds:
        return False
    return True


@given(wide=bounds, wanted=bounds, method=st.sampled_from(METHODS), url=urls)
def test_narrowed_bounds_allow_nothing_more(
    wide: Bounds, wanted: Bounds, method: str, url: str
) -> None:
    try:
        narrow = wide.narrow(wanted)
    except OutOfBounds:
        return

    assert allows(wide, method, url) or not allows(narrow, method, url)
    assert set(wide.tags) <= set(narrow.tags)
    for name in AMOUNTS:
        limit = getattr(wide, name)
        assert limit is None or getattr(narrow, name) <= limit
    assert narrow.narrow(Bounds()) == narrow
    assert wide.narrow(narrow) == narrow


@given(hosts=st.lists(st.sampled_from(HOSTS), unique=True).map(tuple), url=urls)
def test_what_is_allowed_goes_where_the_worker_reads_it(
    hosts: tuple[str, ...], url: str
) -> None:
    """A URL that is let through leads to one of the hosts, or nowhere."""
    if not allows(Bounds(hosts=hosts), "GET", url):
        return
    try:
        target = guard.read_url(url, allow_private=True).target
    except guard.RefusedTarget:
        return

    host = f"[{target.host}]" if ":" in target.host else target.host.rstrip(".")
    names = {host, f"{host}:{target.port}"}
    assert names & set(hosts)
    assert f"{host}:{target.port}" in hosts or target.port in (80, 443)


@given(st.lists(st.sampled_from(["a", "..", ".", "%2e%2e", "b", "", "..;x", "%5c.."])))
def test_no_dot_segment_leads_out_of_a_path(parts: list[str]) -> None:
    path = "/a/" + "/".join(parts)

    assert is_below(path, ["/a/"]) == all(part in ("a", "b", "") for part in parts)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("API.Example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com:8443", "api.example.com:8443"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
        ("localhost", "localhost"),
    ],
)
def test_hosts_are_read_as_urls_are(text: str, host: str) -> None:
    assert read_host(text) == host


@pytest.mark.parametrize(
    "text", ["", "a/b", "a?b", "a#b", "a@b", "a b", "*.example", "a:0", "a:x", "0x7f.1"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(guard.RefusedTarget):
        read_host(text)


def test_a_horizon_holds_for_all_fire_times() -> None:
    day = timedelta(days=1)
    bound = Bounds(horizon=int(day.total_seconds()))
    inside: list[Schedule] = [
        Once(NOW + day),
        Interval(NOW, timedelta(hours=1), NOW + day),
        Cron("0 * * * *", end=NOW + day),
    ]
    beyond: list[Schedule] = [
        Once(NOW + day + timedelta(seconds=1)),
        Interval(NOW, timedelta(hours=1)),
        Cron("0 * * * *"),
        Cron("0 * * * *", end=NOW + 2 * day),
    ]

    for schedule in inside:
        bound.require_schedule(schedule, 0, now=NOW)
    for schedule in beyond:
        with pytest.raises(OutOfBounds):
            bound.require_schedule(schedule, 0, now=NOW)
    with pytest.raises(OutOfBounds):
        bound.require_schedule(Once(NOW + day), 60, now=NOW)


def test_every_bound_is_compared() -> None:
    known = {*LISTS, *AMOUNTS, "tags"}

    assert set(Bounds.__dataclass_fields__) == known
