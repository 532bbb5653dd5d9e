"""Where a burst spends its CPU: by statement in PostgreSQL, by function in the worker.

PostgreSQL says of each statement what the kernel counted for it (`log_statement_stats`):
the embedded one has no pg_stat_statements. py-spy looks at the worker from outside.
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
from datetime import timedelta
from pathlib import Path

import psycopg

from tests.benchmarks.delivery import burst_of
from tests.benchmarks.figures import FAULTS, Figures, Impossible
from tests.benchmarks.stand import Bench, bench, soon
from tests.benchmarks.surcharges import (
    ALWAYS,
    HOURLY,
    OWN,
    RECURRING,
    SEALING,
    WARM_UP,
)

# What a statement is for, by words that no other one has.
STATEMENTS = {
    "due AS MATERIALIZED": "dispatch",
    "WITH free AS": "claim",
    "WITH verdict AS": "record",
    "failure_streak > 0 OR": "streaks",
    "COMMIT": "commit",
}
REST = "other statements"
# Commits, and the processes that write out and sweep.
BESIDE = "outside of statements"
# What a function is for, by its name and the end of its file's; the innermost counts.
FUNCTIONS = {
    "claim (tasks_api/worker/leases.py": "claim",
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
    "publish_events (tasks_api/worker/flower_events.py": "tell Flower",
    "Claimer._claim (tasks_api/worker/claimer.py": "hold what was claimed",
    "Recorder._run (tasks_api/worker/recorder.py": "around record",
    "Claimer._run (tasks_api/worker/claimer.py": "around claim",
    "deliver (tasks_api/tasks.py": "hear of runs",
}
ELSEWHERE = "Celery and the rest of Python"
PY_SPY = "py-spy"
# Samples a second.
RATE = 200
_STATISTICS = re.compile(
    r"LOG:  [A-Z ]+ STATISTICS\n"
    r".*?!\s+(?P<user>[\d.]+) s user, (?P<system>[\d.]+) s system"
    r".*?STATEMENT:  (?P<statement>.*?)(?=^\d{4}-|\Z)",
    re.DOTALL | re.MULTILINE,
)


def profile(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} tasks due at the same moment, and what each step of their runs costs in CPU, µs for each; plain ones and such that use every policy, headers and tags."""
    kinds: dict[str, tuple[timedelta | None, Mapping[str, object]]] = {
        "one-time": (None, {}),
        "one-time, everything": (None, {**ALWAYS, **OWN}),
        "periodic": (HOURLY, {}),
        "periodic, everything": (HOURLY, {**RECURRING, **OWN}),
    }
    if shutil.which(PY_SPY) is None:
        raise Impossible("it needs py-spy, which requirements-dev.txt installs")
    with bench() as stand, psycopg.connect(stand.postgres.url, autocommit=True) as own:
        for _ in range(2):
            for every, more in kinds.values():
                _burst(stand, WARM_UP, every, more)
        for setting in ("log_statement_stats = on", "log_min_error_statement = log"):
            own.execute(f"ALTER SYSTEM SET {setting}")
        own.execute("SELECT pg_reload_conf()")
        for _ in range(rounds):
            for kind, (every, more) in kinds.items():
                found = _profiled(stand, count, every, more)
                faults = {fault: found.pop(fault) for fault in FAULTS if fault in found}
                yield {f"{kind}: {name}": v for name, v in found.items()} | faults


def _burst(
    stand: Bench, count: int, every: timedelta | None, more: Mapping[str, object]
) -> Figures:
    at = soon(SEALING * count)
    stand.store(count, first=at, every=every, more=more)
    return burst_of(stand, count, at)


def _profiled(
    stand: Bench, count: int, every: timedelta | None, more: Mapping[str, object]
) -> Figures:
    at = soon(SEALING * count)
    stand.store(count, first=at, every=every, more=more)
    with (
        stand.postgres.log.open(encoding="utf-8", errors="replace") as log,
        _watched(stand) as samples,
    ):
        log.seek(0, os.SEEK_END)
        found = burst_of(stand, count, at)
        statements = by_statement(log.read())
    postgres, worker = found["  of it postgres"], found["  of it worker"]
    said = {name: seconds / count * 1e6 for name, seconds in statements.items()}
    steps = by_function(samples.read_text(encoding="utf-8"))
    # Samples are moments, and a thread that is seen may wait for a core; so shares.
    seen = sum(steps.values())
    ran = {name: worker * times / seen for name, times in steps.items()}
    return {
        "CPU µs per delivery": found["CPU µs per delivery"],
        "postgres": postgres,
        **{f"  postgres, {name}": said[name] for name in sorted(said)},
        f"  postgres, {BESIDE}": postgres - sum(said.values()),
        "worker": worker,
        **{f"  worker, {name}": ran[name] for name in sorted(ran)},
        **{name: value for name, value in found.items() if name in FAULTS},
    }


@contextmanager
def _watched(stand: Bench) -> Iterator[Path]:
    """The file in which the worker's samples are, in the end."""
    samples = stand.home / "samples"
    # Of threads that wait for something nothing is wanted, as that is no CPU.
    options = f"--format raw --function --gil --rate {RATE} --duration 3600".split()
    worker = str(stand.parts["worker"].pid)
    spy = subprocess.Popen(
        [PY_SPY, "record", *options, "--pid", worker, "--output", str(samples)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield samples
    finally:
        # As Ctrl-C does; it writes down then what it has seen.
        spy.send_signal(signal.SIGINT)
        spy.wait(timeout=60)


def by_statement(log: str) -> dict[str, float]:
    """The seconds of CPU that PostgreSQL's log counts for each of our statements."""
    spent: Counter[str] = Counter()
    for found in _STATISTICS.finditer(log):
        seconds = float(found["user"]) + float(found["system"])
        spent[_name_of(found["statement"])] += seconds
    return dict(spent)


def _name_of(statement: str) -> str:
    return next((name for part, name in STATEMENTS.items() if part in statement), REST)


def by_function(folded: str) -> dict[str, int]:
    """How many of py-spy's samples, in its raw format, fell into each step of a run."""
    seen: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        seen[_step_of(stack.split(";"))] += int(count)
    return dict(seen)


def _step_of(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        for start, step in FUNCTIONS.items():
            if frame.startswith(start):
                return step
    return ELSEWHERE
