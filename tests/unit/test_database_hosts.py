"""The hosts of a URL, one by one, and which of two servers is a former primary."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings

from scheduler_service.db.primaries import (
    HostPort,
    NewestTimelines,
    ServerState,
    find_problem,
)
from scheduler_service.db.sessions import host_port_of, is_embedded, split_hosts


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["localhost:5432"]),
        ({"host": "a", "port": 1}, ["a:1"]),
        ({"host": "a,b"}, ["a:5432", "b:5432"]),
        ({"host": "a,b", "port": "1"}, ["a:1", "b:1"]),
        ({"host": "a,b", "port": "1,2"}, ["a:1", "b:2"]),
        ({"host": "[::1],b", "port": "1,"}, ["::1:1", "b:5432"]),
        ({"host": "/run/a,/run/b", "port": "1,2"}, ["/run/a:1", "/run/b:2"]),
        ({"host": "a,b", "hostaddr": "127.0.0.1,127.0.0.2"}, ["a,b:5432"]),
    ],
)
def test_each_host_of_a_url_is_a_place(
    params: dict[str, Any], expected: list[str]
) -> None:
    found = list(split_hosts(params | {"dbname": "x"}))

    assert [host_port_of(each) for each in found] == expected
    assert all(each["dbname"] == "x" for each in found)


def server_facts(timeline: int | None, system: int | None = 7) -> ServerState:
    return ServerState(1, False, False, system, timeline)


A, B = HostPort("a:1"), HostPort("b:1")


def test_an_older_timeline_of_the_same_system_is_a_former_primary() -> None:
    known = NewestTimelines()
    known.record(A, server_facts(1))
    assert known.find_problem(A, server_facts(1)) == ""

    known.record(B, server_facts(2))

    assert known.primary == B
    assert "a:1 is on timeline 1, and there is a server on timeline 2" in (
        known.find_problem(A, server_facts(1))
    )
    known.record(A, server_facts(1))
    assert known.primary == B


@pytest.mark.parametrize(
    "other", [server_facts(1, system=8), server_facts(None), server_facts(1, None)]
)
def test_what_cannot_be_compared_is_no_former_primary(other: ServerState) -> None:
    known = NewestTimelines()
    known.record(A, server_facts(5))

    assert known.find_problem(B, other) == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("", True), ("/run/a", True), ("/run/a,/run/b", False), ("a", False)],
)
def test_only_one_server_of_this_machine_is_never_replaced(
    host: str, expected: bool
) -> None:
    assert is_embedded({"host": host}) is expected


def test_a_database_of_another_cell_is_of_no_use_and_says_nothing_about_ours(
    settings: LazySettings,
) -> None:
    settings.SCHEDULER_CELL = "here"
    known = NewestTimelines()
    ours = server_facts(1)._replace(cell="here")
    known.record(A, ours)

    promoted = server_facts(2)._replace(cell="there")
    known.record(B, promoted)

    assert known.find_problem(A, ours) == ""
    assert find_problem(A, ours) == ""
    assert find_problem(B, promoted) == (
        "PostgreSQL at b:1 is of the cell there, and SCHEDULER_CELL is here."
    )
