"""Real processes tell their metrics, and their probes fail when they stop working."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
import requests

from scheduler_service.embedded import redis_client_url
from tasks_api.exporter import PORTS
from tests.acceptance.harness import ROOT, Harness, eventually
from tests.acceptance.test_processes import one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

Running = dict[str, "subprocess.Popen[bytes]"]


def quiet_ports() -> int:
    """The first of some ports that the kernel gives to nobody who asks for any."""
    return random.randrange(20_000, 30_000, PORTS)


MESSAGES_WAIT = "Messages wait, and none was taken"


@pytest.fixture
def running(harness: Harness) -> Iterator[Running]:
    """A worker and a beat whose ports are close to each other."""
    harness.environment |= {
        "METRICS_PORT": str(quiet_ports()),
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


def get(harness: Harness, path: str) -> list[str]:
    """What the worker and the beat answer, whichever has which port."""
    first = int(harness.environment["METRICS_PORT"])
    return [
        requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).text
        for port in (first, first + 1)
    ]


def are_listening(harness: Harness) -> bool:
    try:
        return len(get(harness, "/healthz")) == 2
    except requests.ConnectionError:
        return False


def metrics(harness: Harness) -> str:
    return "".join(get(harness, "/metrics"))


def test_a_run_shows_in_the_metrics_of_all(
    harness: Harness, target: Receiver, running: Running
) -> None:
    one_time(harness, f"{target.url}/x", soon(2))
    one_time(harness, "http://127.0.0.1:9/", soon(2))

    eventually(lambda: 'scheduler_runs_total{state="failed"} 1.0' in metrics(harness))

    text = metrics(harness)
    assert 'scheduler_runs_total{state="succeeded"} 1.0' in text
    assert "scheduler_lateness_seconds_count 2.0" in text
    assert 'scheduler_attempt_seconds_count{outcome="2xx"} 1.0' in text
    assert 'scheduler_attempt_seconds_count{outcome="none"} 1.0' in text
    assert "scheduler_runs_made_total 2.0" in text
    web = requests.get(f"{harness.url}/metrics", timeout=5).text
    assert re.search(r'scheduler_processes_alive{kind="worker"} [1-9]', web)
    assert "failed: connection refused run_id=" in harness.read_logs()


def test_prometheus_has_nothing_against_the_metrics(
    harness: Harness, running: Running
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("There is no promtool on this machine.")
    web = requests.get(f"{harness.url}/metrics", timeout=5).text

    for text in (web, *get(harness, "/metrics")):
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_frozen_process_fails_its_probe(harness: Harness, running: Running) -> None:
    for kind in ("worker", "beat", "web"):
        assert probe(harness, kind) == (0, f"{kind} is at work.\n")

    running["beat"].send_signal(signal.SIGSTOP)

    code, said = probe(harness, "beat")
    assert (code, "beat on port" in said) == (1, True)
    running["beat"].send_signal(signal.SIGCONT)
    assert probe(harness, "beat")[0] == 0


def test_a_worker_that_stops_consuming_fails_its_probe(
    harness: Harness, target: Receiver, running: Running
) -> None:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as broker:
        # As if an operator had taken the right from it to fetch messages.
        broker.execute_command("ACL", "SETUSER", "default", "-brpop")
        try:
            one_time(harness, f"{target.url}/x", soon(2))
            eventually(lambda: MESSAGES_WAIT in probe(harness, "worker")[1])
            assert harness.is_ready()
            assert probe(harness, "beat")[0] == 0
        finally:
            broker.execute_command("ACL", "SETUSER", "default", "+brpop")
