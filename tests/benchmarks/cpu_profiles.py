"""Measures where a burst spends its CPU: by statement in PostgreSQL, by function in the worker.

PostgreSQL logs for each statement what the kernel counted (`log_statement_stats`): the
embedded one has no pg_stat_statements. py-spy samples the worker from outside.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.benchmarks.delivery import measure_one_burst
from tests.benchmarks.feature_overhead import (
    HOURLY,
    POLICIES,
    RECURRING_POLICIES,
    REQUEST_OPTIONS,
    SEALING_FACTOR,
    WARM_UP_TASKS,
)
from tests.benchmarks.figures import FAULTS, Figures, ScenarioUnavailable
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    time_after_storing,
)

# The purpose of each statement, by words that no other one has.
STATEMENTS = {
    "has_due_tasks": "look",
    "due AS MATERIALIZED": "take",
    "waiting AS MATERIALIZED": "take",
    "WITH verdict AS": "record",
    "failure_streak > 0 OR": "streaks",
    "COMMIT": "commit",
}
OTHER_STATEMENTS = "other statements"
# Commits, the checkpointer and autovacuum.
NO_STATEMENT = "outside of statements"
# The purpose of each function, by how its frame begins; the innermost one counts.
FUNCTIONS = {
    "find_due (tasks_api/taking/due_poll.py": "look",
    "_take (tasks_api/taking/due_tasks.py": "take",
    "take (tasks_api/taking/waiting_runs.py": "take",
    "record_results (tasks_api/worker/record.py": "record",
    "_lock_tasks (tasks_api/worker/failure_streaks.py": "streaks",
    "_unseal (tasks_api/worker/request_builder.py": "open sealed headers",
    "build_request (tasks_api/delivery/request.py": "build and sign",
    "CurlHandles.acquire (tasks_api/delivery/curl_handles.py": "set up libcurl",
    "CurlHandles.release (tasks_api/delivery/curl_handles.py": "set up libcurl",
    "Transfer.on_header (tasks_api/delivery/transfers.py": "read headers",
    "MultiHandle._complete (tasks_api/delivery/multi_handle.py": "take the answer",
    "Transport._complete (tasks_api/delivery/transport.py": "take the answer",
    "Transport._turn (tasks_api/delivery/transport.py": "libcurl and sockets",
    "judge_attempt (tasks_api/worker/verdicts.py": "judge",
    "EventPublisher._run (tasks_api/worker/flower_publisher.py": "tell Flower",
    "Taker._take (tasks_api/worker/taker.py": "hold what was taken",
    "Recorder._run (tasks_api/worker/recorder.py": "around record",
    "Taker._run (tasks_api/worker/taker.py": "around take",
    "deliver (tasks_api/tasks.py": "hear a bell",
}
OTHER_PYTHON = "Celery and the rest of Python"
PY_SPY = "py-spy"
SAMPLES_PER_SECOND = 200
_STATISTICS = re.compile(
    r"LOG:  [A-Z ]+ STATISTICS\n"
    r".*?!\s+(?P<user>[\d.]+) s user, (?P<system>[\d.]+) s system"
    r".*?STATEMENT:  (?P<statement>.*?)(?=^\d{4}-|\Z)",
    re.DOTALL | re.MULTILINE,
)


class _TaskKind(NamedTuple):
    every: timedelta | None
    fields: Mapping[str, object]


_KINDS = {
    "one-time": _TaskKind(None, {}),
    "one-time, everything": _TaskKind(None, {**POLICIES, **REQUEST_OPTIONS}),
    "periodic": _TaskKind(HOURLY, {}),
    "periodic, everything": _TaskKind(
        HOURLY, {**RECURRING_POLICIES, **REQUEST_OPTIONS}
    ),
}


def measure_profile(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} tasks due at the same moment, and what each step of their runs costs in CPU, µs for each; plain ones and such that use every policy, headers and tags."""
    if shutil.which(PY_SPY) is None:
        raise ScenarioUnavailable(
            "it needs py-spy, which requirements-dev.txt installs"
        )
    with benchmark_harness() as harness:
        for _ in range(2):
            for kind in _KINDS.values():
                measure_one_burst(
                    harness, WARM_UP_TASKS, _store(harness, WARM_UP_TASKS, kind)
                )
        _log_statement_statistics(harness)
        for _ in range(rounds):
            for name, kind in _KINDS.items():
                found = _profile_burst(harness, count, kind)
                faults = {fault: found.pop(fault) for fault in FAULTS if fault in found}
                yield {f"{name}: {step}": v for step, v in found.items()} | faults


def _log_statement_statistics(harness: BenchmarkHarness) -> None:
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET log_statement_stats = on")
        connection.execute("ALTER SYSTEM SET log_min_error_statement = log")
        connection.execute("SELECT pg_reload_conf()")


def _store(harness: BenchmarkHarness, count: int, kind: _TaskKind) -> datetime:
    at = time_after_storing(SEALING_FACTOR * count)
    harness.store_tasks(count, first=at, every=kind.every, fields=kind.fields)
    return at


def _profile_burst(harness: BenchmarkHarness, count: int, kind: _TaskKind) -> Figures:
    at = _store(harness, count, kind)
    with (
        harness.postgres.log.open(encoding="utf-8", errors="replace") as log,
        _sample_worker(harness) as samples,
    ):
        log.seek(0, os.SEEK_END)
        found = measure_one_burst(harness, count, at)
        statements = cpu_by_statement(log.read())
    postgres, worker = found["  of it postgres"], found["  of it worker"]
    costs = {name: seconds / count * 1e6 for name, seconds in statements.items()}
    steps = samples_by_function(samples.read_text(encoding="utf-8"))
    return {
        "CPU µs per delivery": found["CPU µs per delivery"],
        "postgres": postgres,
        **{f"  postgres, {name}": costs[name] for name in sorted(costs)},
        f"  postgres, {NO_STATEMENT}": postgres - sum(costs.values()),
        "worker": worker,
        **_share_out(worker, steps),
        **{name: value for name, value in found.items() if name in FAULTS},
    }


def _share_out(worker: float, steps: Mapping[str, int]) -> Figures:
    """Divide the worker's CPU by samples: a sampled thread may wait for a core."""
    samples = sum(steps.values())
    return {
        f"  worker, {name}": worker * steps[name] / samples for name in sorted(steps)
    }


@contextmanager
def _sample_worker(harness: BenchmarkHarness) -> Iterator[Path]:
    """Yields the file that has the samples once the block ends."""
    samples = harness.home / "samples"
    # Only threads that run (--gil): a thread that waits uses no CPU.
    options = ("--format=raw", "--function", "--gil", "--duration=3600")
    worker = str(harness.parts["worker"].pid)
    command = [PY_SPY, "record", *options, "--pid", worker, "--output", str(samples)]
    spy = subprocess.Popen(
        [*command, "--rate", str(SAMPLES_PER_SECOND)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield samples
    finally:
        # As Ctrl-C does: it writes its samples then.
        spy.send_signal(signal.SIGINT)
        spy.wait(timeout=60)


def cpu_by_statement(log: str) -> dict[str, float]:
    """The seconds of CPU that PostgreSQL's log counts for each of our statements."""
    spent: dict[str, float] = {}
    for found in _STATISTICS.finditer(log):
        purpose = _statement_purpose(found["statement"])
        seconds = float(found["user"]) + float(found["system"])
        spent[purpose] = spent.get(purpose, 0.0) + seconds
    return spent


def _statement_purpose(statement: str) -> str:
    return next(
        (name for part, name in STATEMENTS.items() if part in statement),
        OTHER_STATEMENTS,
    )


def samples_by_function(folded: str) -> dict[str, int]:
    """How many of py-spy's samples, in its raw format, fell into each step of a run."""
    seen: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        seen[_function_purpose(stack.split(";"))] += int(count)
    return dict(seen)


def _function_purpose(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        for start, step in FUNCTIONS.items():
            if frame.startswith(start):
                return step
    return OTHER_PYTHON
