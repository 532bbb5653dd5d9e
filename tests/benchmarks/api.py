"""How fast the tasks API is: create and reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tests.benchmarks import fill
from tests.benchmarks.figures import Figures
from tests.benchmarks.load import Call, shared, waits
from tests.benchmarks.stand import Bench, bench

CLIENTS = 8
CREATED = 2000
# As many as one request may have.
BULK = 10_000
BULK_CLIENTS = 2
READ = 400
PAGE = 100
# The first requests of a process load code, which is not what is measured.
WARM_UP = 40

_SOME = """
    SELECT task.id FROM tasks_api_task task JOIN accounts_tenant tenant
        ON tenant.id = task.tenant_id
    WHERE tenant.name = 'Alpha' ORDER BY random() LIMIT %s
"""


def create(stored: int = 0, *, rounds: int) -> Iterator[Figures]:
    """One-time tasks created one a request by eight clients at once, with {stored} stored."""
    with bench() as stand:
        stand.store_others(stored)
        call = Call("POST", "/tasks/", fill.one_off(fill.LATER, stand.target))
        _measure(stand, [call] * WARM_UP, "create")
        for _ in range(rounds):
            yield _measure(stand, [call] * CREATED, "create", expected=201)


def bulk(stored: int = 0, *, rounds: int) -> Iterator[Figures]:
    """One-time tasks created 10,000 a request, by one client after the other and by two
    at once, with {stored} stored."""
    with bench() as stand:
        stand.store_others(stored)
        one = fill.one_off(fill.LATER, stand.target)
        many = Call("POST", "/tasks/bulk/", {"tasks": [one] * BULK})
        _measure(stand, [Call("POST", "/tasks/", one)] * WARM_UP, "single")
        for _ in range(rounds):
            one_by_one, at_once = (
                _bulk(stand, many, 1),
                _bulk(stand, many, BULK_CLIENTS),
            )
            refused = one_by_one["refused"] + at_once["refused"]
            yield one_by_one | at_once | {"refused": refused}


def _bulk(stand: Bench, call: Call, clients: int) -> Figures:
    calls = [call] * clients * 2
    before = stand.reading()
    began = time.perf_counter()
    answers = shared([stand.client() for _ in range(clients)], calls)
    took = time.perf_counter() - began
    used = stand.since(before)
    tasks = BULK * len(calls)
    what = "bulk" if clients > 1 else "bulk by one"
    return {
        f"{what}, tasks per s": tasks / took,
        f"{what}, web CPU µs": used.cpu["web"] / tasks * 1e6,
        f"{what}, postgres CPU µs": used.cpu["postgres"] / tasks * 1e6,
        "refused": sum(answer.status != 201 for answer in answers),
    }


def reads(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """Reads by the owner of {stored} tasks, by an administrator, and by a stranger who owns a hundred."""
    with bench() as stand:
        stranger = stand.another_tenant()
        stand.manage("add_user", "boss", "--tenant", "Alpha", "--role", "admin")
        boss = stand.manage("issue_token", "--tenant", "Alpha", "--user", "boss")
        stand.store_others(stored)
        stand.store_others(PAGE, token=stranger)
        ids = [str(task_id) for (task_id,) in stand.query(_SOME, READ)]
        one = [Call("GET", f"/tasks/id/{task_id}") for task_id in ids]
        _measure(stand, one[:WARM_UP], "one task")
        for _ in range(rounds):
            yield _read(stand, one, last=stored - PAGE, stranger=stranger, boss=boss)


def _read(
    stand: Bench, one: list[Call], *, last: int, stranger: str, boss: str
) -> Figures:
    first_page = Call("GET", f"/tasks/?limit={PAGE}&offset=0")
    of_tenant = Call("GET", f"/tasks/?owner=all&limit={PAGE}")
    tagged = Call("GET", f"/tasks/?owner=all&tag=nothing&limit={PAGE}")
    last_page = Call("GET", f"/tasks/?limit={PAGE}&offset={last}")
    found = [
        _measure(stand, one, "one task"),
        _measure(stand, [first_page] * READ, "own hundred", token=stranger),
        _measure(stand, [first_page] * 8, "first page of all"),
        _measure(stand, [last_page] * 2, "last page of all"),
        _measure(stand, [of_tenant] * 8, "first page of the tenant", token=boss),
        _measure(stand, [tagged] * 8, "nothing with a tag", token=boss),
    ]
    refused = sum(figures["refused"] for figures in found)
    return {k: v for figures in found for k, v in figures.items()} | {
        "refused": refused
    }


def _measure(
    stand: Bench,
    calls: Sequence[Call],
    what: str,
    *,
    token: str = "",
    expected: int = 200,
) -> Figures:
    clients = [stand.client(token) for _ in range(CLIENTS)]
    before = stand.reading()
    began = time.perf_counter()
    answers = shared(clients, calls)
    duration = time.perf_counter() - began
    used = stand.since(before)
    return {
        f"{what}, per s": len(calls) / duration,
        **waits((answer.seconds for answer in answers), what),
        f"{what}, web CPU µs": used.cpu["web"] / len(calls) * 1e6,
        f"{what}, postgres CPU µs": used.cpu["postgres"] / len(calls) * 1e6,
        "refused": sum(answer.status != expected for answer in answers),
    }
