"""Measures the tasks API: creates and reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tests.benchmarks import seed_data
from tests.benchmarks.api_clients import ApiCall, call_in_parallel, response_times
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import BenchmarkHarness, benchmark_harness

CLIENTS = 8
CREATE_CALLS = 2000
# As many tasks as one request may have.
BULK_SIZE = 10_000
BULK_CLIENTS = 2
READ_CALLS = 400
PAGE_SIZE = 100
# The first requests of a process load code, so they are not measured.
WARM_UP_CALLS = 40

_RANDOM_TASKS = """
    SELECT task.id FROM tasks_api_task task JOIN accounts_tenant tenant
        ON tenant.id = task.tenant_id
    WHERE tenant.name = 'Alpha' ORDER BY random() LIMIT %s
"""


def measure_create(stored: int = 0, *, rounds: int) -> Iterator[Figures]:
    """One-time tasks created one a request by eight clients at once, with {stored} stored."""
    with benchmark_harness() as harness:
        harness.store_idle_tasks(stored)
        call = ApiCall(
            "POST",
            "/tasks/",
            seed_data.one_time_task(seed_data.FAR_FUTURE, harness.target_url),
        )
        measure_calls(harness, [call] * WARM_UP_CALLS, "create")
        for _ in range(rounds):
            yield measure_calls(harness, [call] * CREATE_CALLS, "create", expected=201)


def measure_bulk(stored: int = 0, *, rounds: int) -> Iterator[Figures]:
    """One-time tasks created 10,000 a request, by one client after the other and by two
    at once, with {stored} stored."""
    with benchmark_harness() as harness:
        harness.store_idle_tasks(stored)
        one = seed_data.one_time_task(seed_data.FAR_FUTURE, harness.target_url)
        many = ApiCall("POST", "/tasks/bulk/", {"tasks": [one] * BULK_SIZE})
        measure_calls(
            harness, [ApiCall("POST", "/tasks/", one)] * WARM_UP_CALLS, "single"
        )
        for _ in range(rounds):
            one_by_one, at_once = (
                _measure_bulk(harness, many, 1),
                _measure_bulk(harness, many, BULK_CLIENTS),
            )
            refused = one_by_one["refused"] + at_once["refused"]
            yield one_by_one | at_once | {"refused": refused}


def _measure_bulk(harness: BenchmarkHarness, call: ApiCall, clients: int) -> Figures:
    calls = [call] * clients * 2
    before = harness.read_usage()
    began = time.perf_counter()
    answers = call_in_parallel([harness.open_client() for _ in range(clients)], calls)
    took = time.perf_counter() - began
    used = harness.usage_since(before)
    tasks = BULK_SIZE * len(calls)
    operation = "bulk" if clients > 1 else "bulk by one"
    return {
        f"{operation}, tasks per s": tasks / took,
        f"{operation}, web CPU µs": used.cpu["web"] / tasks * 1e6,
        f"{operation}, postgres CPU µs": used.cpu["postgres"] / tasks * 1e6,
        "refused": sum(answer.status != 201 for answer in answers),
    }


def measure_reads(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """Reads by the owner of {stored} tasks, by an administrator, and by a stranger who owns a hundred."""
    with benchmark_harness() as harness:
        stranger = harness.issue_other_tenant_token()
        harness.manage("add_user", "boss", "--tenant", "Alpha", "--role", "admin")
        boss = harness.manage("issue_token", "--tenant", "Alpha", "--user", "boss")
        harness.store_idle_tasks(stored)
        harness.store_idle_tasks(PAGE_SIZE, token=stranger)
        ids = [str(task_id) for (task_id,) in harness.query(_RANDOM_TASKS, READ_CALLS)]
        one = [ApiCall("GET", f"/tasks/id/{task_id}") for task_id in ids]
        measure_calls(harness, one[:WARM_UP_CALLS], "one task")
        for _ in range(rounds):
            yield _measure_reads(
                harness, one, last=stored - PAGE_SIZE, stranger=stranger, boss=boss
            )


def _measure_reads(
    harness: BenchmarkHarness,
    one: list[ApiCall],
    *,
    last: int,
    stranger: str,
    boss: str,
) -> Figures:
    first_page = ApiCall("GET", f"/tasks/?limit={PAGE_SIZE}&offset=0")
    of_tenant = ApiCall("GET", f"/tasks/?owner=all&limit={PAGE_SIZE}")
    tagged = ApiCall("GET", f"/tasks/?owner=all&tag=nothing&limit={PAGE_SIZE}")
    last_page = ApiCall("GET", f"/tasks/?limit={PAGE_SIZE}&offset={last}")
    found = [
        measure_calls(harness, one, "one task"),
        measure_calls(
            harness, [first_page] * READ_CALLS, "own hundred", token=stranger
        ),
        measure_calls(harness, [first_page] * 8, "first page of all"),
        measure_calls(harness, [last_page] * 2, "last page of all"),
        measure_calls(harness, [of_tenant] * 8, "first page of the tenant", token=boss),
        measure_calls(harness, [tagged] * 8, "nothing with a tag", token=boss),
    ]
    refused = sum(figures["refused"] for figures in found)
    return {k: v for figures in found for k, v in figures.items()} | {
        "refused": refused
    }


def measure_calls(
    harness: BenchmarkHarness,
    calls: Sequence[ApiCall],
    operation: str,
    *,
    token: str = "",
    expected: int = 200,
    clients: int = CLIENTS,
) -> Figures:
    opened = [harness.open_client(token) for _ in range(clients)]
    before = harness.read_usage()
    began = time.perf_counter()
    answers = call_in_parallel(opened, calls)
    duration = time.perf_counter() - began
    used = harness.usage_since(before)
    return {
        f"{operation}, per s": len(calls) / duration,
        **response_times((answer.seconds for answer in answers), operation),
        f"{operation}, web CPU µs": used.cpu["web"] / len(calls) * 1e6,
        f"{operation}, postgres CPU µs": used.cpu["postgres"] / len(calls) * 1e6,
        "refused": sum(answer.status != expected for answer in answers),
    }
