"""Real processes export metrics, and their probes fail when they stop working."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import redis
import requests

from scheduler_service.redis.connections import redis_client_url
from tasks_api.monitoring.exporter import MAX_PORTS_TRIED
from tests.acceptance.harness import ROOT, Harness, eventually
from tests.acceptance.tasks import create_periodic_task, create_task_at, in_seconds
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

PROMTOOL = shutil.which("promtool")

Parts = dict[str, "subprocess.Popen[bytes]"]


def choose_port_range() -> int:
    """The first of some ports outside of the range of ephemeral ports."""
    return random.randrange(20_000, 30_000, MAX_PORTS_TRIED)


MESSAGES_WAIT = "Messages wait, and none was taken"


@pytest.fixture
def parts(harness: Harness) -> Iterator[Parts]:
    """A worker and a beat whose ports are close to each other."""
    harness.environment |= {
        "METRICS_PORT": str(choose_port_range()),
        "PROBE_PATIENCE": "6",
        "DATABASE_STATEMENT_TIMEOUT": "5",
    }
    started = {part: harness.start_part(part) for part in ("worker", "beat")}
    eventually(lambda: are_listening(harness))
    yield started
    for process in started.values():
        process.send_signal(signal.SIGCONT)
        harness.stop_process(process, signal.SIGKILL)


def probe(harness: Harness, kind: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "probe", kind],
        cwd=ROOT,
        env=harness.environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def get_from_parts(harness: Harness, path: str) -> list[str]:
    """The answers of the worker and the beat, in the order of their ports."""
    first = int(harness.environment["METRICS_PORT"])
    return [
        requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).text
        for port in (first, first + 1)
    ]


def are_listening(harness: Harness) -> bool:
    try:
        return len(get_from_parts(harness, "/healthz")) == 2
    except requests.ConnectionError:
        return False


def read_metrics(harness: Harness) -> str:
    return "".join(get_from_parts(harness, "/metrics"))


def is_in_metrics(harness: Harness, line: str) -> bool:
    return line in read_metrics(harness)


def test_a_run_shows_in_the_metrics_of_all_parts(
    harness: Harness, target: Receiver, parts: Parts
) -> None:
    create_task_at(harness, f"{target.url}/x", in_seconds(2))
    create_task_at(harness, "http://127.0.0.1:9/", in_seconds(2))

    # The parts count what they have done at different moments.
    for line in (
        'scheduler_runs_total{state="failed"} 1.0',
        'scheduler_runs_total{state="succeeded"} 1.0',
        "scheduler_lateness_seconds_count 2.0",
        'scheduler_attempt_seconds_count{outcome="2xx"} 1.0',
        'scheduler_attempt_seconds_count{outcome="none"} 1.0',
        "scheduler_runs_made_total 2.0",
    ):
        eventually(partial(is_in_metrics, harness, line))
    eventually(lambda: "failed: connection refused run_id=" in harness.read_logs())
    web = requests.get(f"{harness.url}/metrics", timeout=5).text
    assert re.search(r'scheduler_processes_alive{kind="worker"} [1-9]', web)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed.")
def test_promtool_accepts_the_metrics(harness: Harness, parts: Parts) -> None:
    web = requests.get(f"{harness.url}/metrics", timeout=5).text

    for text in (web, *get_from_parts(harness, "/metrics")):
        done = subprocess.run(
            [str(PROMTOOL), "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_frozen_process_fails_its_probe(harness: Harness, parts: Parts) -> None:
    for kind in ("worker", "beat", "web"):
        assert probe(harness, kind) == (0, f"{kind} is at work.\n")

    parts["beat"].send_signal(signal.SIGSTOP)

    code, said = probe(harness, "beat")
    assert (code, "beat on port" in said) == (1, True)
    parts["beat"].send_signal(signal.SIGCONT)
    eventually(lambda: probe(harness, "beat")[0] == 0)


def test_a_worker_that_stops_consuming_fails_its_probe(
    harness: Harness, target: Receiver, parts: Parts
) -> None:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as broker:
        # As if an operator had taken the right from it to fetch messages.
        broker.execute_command("ACL", "SETUSER", "default", "-brpop")
        try:
            # A fire time that the worker finds by itself leaves no message behind.
            create_periodic_task(
                harness, f"{target.url}/x", in_seconds(2), every=1, times=60
            )
            eventually(lambda: MESSAGES_WAIT in probe(harness, "worker")[1])
            assert harness.is_ready()
            assert probe(harness, "beat")[0] == 0
        finally:
            broker.execute_command("ACL", "SETUSER", "default", "+brpop")
