"""How fast the tasks API is: create and reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tests.benchmarks import seed_data
from tests.benchmarks.api_clients import Call, shared, waits
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import Bench, bench

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
    with bench() as harness:
        harness.store_others(stored)
        call = Call(
            "POST", "/tasks/", seed_data.one_off(seed_data.LATER, harness.target)
        )
        _measure(harness, [call] * WARM_UP, "create")
        for _ in range(rounds):
            yield _measure(harness, [call] * CREATED, "create", expected=201)


def bulk(stored: int = 0, *, rounds: int) -> Iterator[Figures]:
    """One-time tasks created 10,000 a request, by one client after the other and by two
    at once, with {stored} stored."""
    with bench() as harness:
        harness.store_others(stored)
        one = seed_data.one_off(seed_data.LATER, harness.target)
        many = Call("POST", "/tasks/bulk/", {"tasks": [one] * BULK})
        _measure(harness, [Call("POST", "/tasks/", one)] * WARM_UP, "single")
        for _ in range(rounds):
            one_by_one, at_once = (
                _bulk(harness, many, 1),
                _bulk(harness, many, BULK_CLIENTS),
            )
            refused = one_by_one["refused"] + at_once["refused"]
            yield one_by_one | at_once | {"refused": refused}


def _bulk(harness: Bench, call: Call, clients: int) -> Figures:
    calls = [call] * clients * 2
    before = harness.reading()
    began = time.perf_counter()
    answers = shared([harness.client() for _ in range(clients)], calls)
    took = time.perf_counter() - began
    used = harness.since(before)
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
    with bench() as harness:
        stranger = harness.another_tenant()
        harness.manage("add_user", "boss", "--tenant", "Alpha", "--role", "admin")
        boss = harness.manage("issue_token", "--tenant", "Alpha", "--user", "boss")
        harness.store_others(stored)
        harness.store_others(PAGE, token=stranger)
        ids = [str(task_id) for (task_id,) in harness.query(_SOME, READ)]
        one = [Call("GET", f"/tasks/id/{task_id}") for task_id in ids]
        _measure(harness, one[:WARM_UP], "one task")
        for _ in range(rounds):
            yield _read(harness, one, last=stored - PAGE, stranger=stranger, boss=boss)


def _read(
    harness: Bench, one: list[Call], *, last: int, stranger: str, boss: str
) -> Figures:
    first_page = Call("GET", f"/tasks/?limit={PAGE}&offset=0")
    of_tenant = Call("GET", f"/tasks/?owner=all&limit={PAGE}")
    tagged = Call("GET", f"/tasks/?owner=all&tag=nothing&limit={PAGE}")
    last_page = Call("GET", f"/tasks/?limit={PAGE}&offset={last}")
    found = [
        _measure(harness, one, "one task"),
        _measure(harness, [first_page] * READ, "own hundred", token=stranger),
        _measure(harness, [first_page] * 8, "first page of all"),
        _measure(harness, [last_page] * 2, "last page of all"),
        _measure(harness, [of_tenant] * 8, "first page of the tenant", token=boss),
        _measure(harness, [tagged] * 8, "nothing with a tag", token=boss),
    ]
    refused = sum(figures["refused"] for figures in found)
    return {k: v for figures in found for k, v in figures.items()} | {
        "refused": refused
    }


def _measure(
    harness: Bench,
    calls: Sequence[Call],
    what: str,
    *,
    token: str = "",
    expected: int = 200,
) -> Figures:
    clients = [harness.client(token) for _ in range(CLIENTS)]
    before = harness.reading()
    began = time.perf_counter()
    answers = shared(clients, calls)
    duration = time.perf_counter() - began
    used = harness.since(before)
    return {
        f"{what}, per s": len(calls) / duration,
        **waits((answer.seconds for answer in answers), what),
        f"{what}, web CPU µs": used.cpu["web"] / len(calls) * 1e6,
        f"{what}, postgres CPU µs": used.cpu["postgres"] / len(calls) * 1e6,
        "refused": sum(answer.status != expected for answer in answers),
    }
