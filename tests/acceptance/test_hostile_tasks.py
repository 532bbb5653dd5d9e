"""Hostile tasks of one tenant do not delay the sound tasks of another tenant.

Hundreds of tasks are generated over all fields and their extremes, and some of their rows
are corrupted as the API would never allow. `HOSTILE_SEED=7` generates others.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import string
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import psycopg
import pytest
import requests

from tests.acceptance.harness import Harness, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

SEED = int(os.environ.get("HOSTILE_SEED", "1"))
HOSTILE_TASKS = 500
# The lateness of the sound tenant is measured so long, alone and beside the hostile one.
WATCH_SECONDS = 15.0
SOUND_TASKS = 10
# The same line may be logged so many times, each time about another run.
MAX_REPEATS = 20
LATEST_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
ZONES = sorted(available_timezones())
MAX_FREQUENCY = 2**31 - 1


class TaskGenerator:
    """Generates bodies of tasks, most of which are odd in several ways."""

    def __init__(self, seed: int, url: str) -> None:
        self.random = random.Random(seed)
        self.url = url

    def task(self) -> dict[str, Any]:
        kind = self.random.choice(("frequency", "cron", "cron", "one_time"))
        schedules = {
            "frequency": self.frequency,
            "cron": self.cron,
            "one_time": self.one_time,
        }
        task = schedules[kind]() | self.target() | self.policies(kind)
        if self.maybe(0.2):
            task["name"] = self.text(self.random.choice((1, 30, 255)))
        if self.maybe(0.2):
            task["tags"] = [self.text(5) for _ in range(self.random.randrange(1, 20))]
        return task

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def text(self, length: int) -> str:
        letters = string.ascii_letters + " /%\\'\"<>&;|äßИ漢\u200b😀"
        return "".join(self.random.choices(letters, k=length))

    def in_seconds(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.random.uniform(2, 8))

    def end(self, start: datetime, least: float) -> datetime:
        room = (LATEST_END - start).total_seconds()
        exact = start + timedelta(seconds=min(least, room))
        return self.random.choice((LATEST_END, exact, LATEST_END - timedelta(days=1)))

    def frequency(self) -> dict[str, Any]:
        every = int(10 ** self.random.uniform(0.5, 9.33))
        start = self.in_seconds()
        return {
            "task_type": "periodic",
            "frequency": min(every, MAX_FREQUENCY),
            "start_datetime": start.isoformat(),
            "end_datetime": self.end(start, every).isoformat(),
        }

    def cron(self) -> dict[str, Any]:
        fields = [
            self.random.choice(("*/7", "0", "59", "*/59", "13,31")),
            self.random.choice(("*", "*/59", "0", "0-59/7", "5-5/3")),
            self.random.choice(("*", "2-5/10", "0", "*/23", "23")),
            self.random.choice(("*", "29", "31", "19", "L", "LW", "1-31/30")),
            self.random.choice(("*", "2", "*/11", "FEB", "12")),
            self.random.choice(("*", "*/7", "1", "MON#5", "5L", "0-7")),
        ]
        if self.maybe(0.4):
            this_year = datetime.now(UTC).year
            years = ("*", "9996-9999", f"{this_year},9990", "2027-9999/4", "2099")
            fields.append(self.random.choice(years))
        task: dict[str, Any] = {"task_type": "periodic", "cron": " ".join(fields)}
        if self.maybe(0.7):
            task["timezone"] = self.random.choice(ZONES)
        if self.maybe(0.5):
            task["end_datetime"] = self.end(datetime.now(UTC), 3600).isoformat()
        if self.maybe(0.3):
            task["dst"] = {
                "gap": self.random.choice(("next_valid", "skip")),
                "overlap": self.random.choice(("first", "both")),
            }
        return task

    def one_time(self) -> dict[str, Any]:
        at = self.random.choice((self.in_seconds(), self.in_seconds(), LATEST_END))
        return {"task_type": "one_time", "run_datetime": at.isoformat()}

    def target(self) -> dict[str, Any]:
        if self.maybe(0.05):
            refused = ("http://us\uff03er:pw@127.0.0.1:1/", "http://[::1]@127.0.0.1:1/")
            return {"url": self.random.choice(refused)}
        hosts = (
            f"{self.url}/hangs",
            f"{self.url}/fails/{self.random.randrange(10)}",
            "http://127.0.0.1:1/closed",
            "http://[::1]:1/",
            "http://nowhere.invalid/",
            f"{self.url.replace('//', '//ann:sesame@')}/" + "x" * 1500,
        )
        size = self.random.choice((0, 10, 10, 100_000))
        return {"url": self.random.choice(hosts), "post_data": {"x": "y" * size}}

    def policies(self, kind: str) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        if kind != "one_time":
            drawn |= self.some(
                overlap=("allow", "skip", "queue_one"),
                misfire=("latest", "skip", "all"),
                catchup_window=(10, 365 * 86400),
                spread=(0, 1, 3600, 86400),
                pause_after_failures=(1, 1000),
            )
        return drawn | self.some(
            method=("GET", "PUT", "DELETE", "PATCH", "POST"),
            timeout_seconds=(1, 30, 300),
            expected_status=("200", "100-999", "404-404"),
            retry=(
                {"max_attempts": 185, "min_delay": 1, "max_delay": 1},
                {"max_attempts": 2, "max_age": 60},
                {"max_attempts": 3, "max_delay": 604800},
            ),
            headers=({"X-A": "b" * 4000}, {"X-A": ""}),
        )

    def some(self, **choices: tuple[Any, ...]) -> dict[str, Any]:
        return {
            name: self.random.choice(values)
            for name, values in choices.items()
            if self.maybe(0.25)
        }


# Rows as only an older release, an operator or a bug could leave them.
CORRUPTIONS = (
    "UPDATE tasks_api_task SET expected_status = '9-', retry = '{{' WHERE id = {task}",
    "UPDATE tasks_api_task SET request = '{{\"form\": 7' WHERE id = {task}",
    "UPDATE tasks_api_task SET url = 'http://[' WHERE id = {task}",
    "UPDATE tasks_api_task SET retry = '{{\"max_attempts\": -1}}' WHERE id = {task}",
    "UPDATE tasks_api_task SET dst = 'never' WHERE id = {task}",
    "UPDATE tasks_api_task SET cron_years = '1-', cron_seconds = 'x' WHERE id = {task}",
    "UPDATE django_celery_beat_periodictask SET expires = 'infinity' WHERE id = {stored}",
    "UPDATE django_celery_beat_periodictask SET start_time = '9999-12-31' WHERE id = {stored}",
    "UPDATE django_celery_beat_periodictask SET interval_id = {short} WHERE id = {stored}",
)


def corrupt_rows(harness: Harness, generator: TaskGenerator) -> None:
    """Corrupt every fifth row of the other tenant, without the service's knowledge."""
    [(short,)] = harness.query(
        "INSERT INTO django_celery_beat_intervalschedule (every, period) "
        "VALUES (1, 'microseconds') RETURNING id"
    )
    rows = harness.query(
        "SELECT id, periodic_task_id FROM tasks_api_task "
        "WHERE url NOT LIKE %s AND ended_at IS NULL ORDER BY id",
        "%/sound/%",
    )
    with psycopg.connect(harness.postgres.url) as connection:
        for task, stored in rows[::5]:
            statement = generator.random.choice(CORRUPTIONS)
            values = {"task": f"'{task}'", "stored": stored, "short": short}
            connection.execute(statement.format(**values))


@pytest.fixture
def other_tenant(harness: Harness) -> Iterator[requests.Session]:
    """A session of another tenant."""
    token = harness.manage("issue_token", "--tenant", "Beta", "--user", "bob")
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


def create_sound_tasks(harness: Harness, url: str) -> None:
    for n in range(SOUND_TASKS):
        start = datetime.now(UTC) + timedelta(seconds=3 + n / SOUND_TASKS)
        harness.create_task(
            task_type="periodic",
            frequency=1,
            start_datetime=start.isoformat(),
            end_datetime=(start + timedelta(hours=1)).isoformat(),
            url=f"{url}/sound/{n}",
            # A look may take longer than a period; what is late then counts as late.
            misfire="all",
        )


def lateness(harness: Harness, since: datetime) -> list[float]:
    """How late each of the sound tenant's requests began, in seconds.

    They arrive at a target that is a thread of this process, beside those in which hostile
    requests hang. So it may note them late, for which the service can do nothing.
    """
    statement = """
        SELECT extract(epoch FROM run.first_started_at - run.scheduled_for)::float
        FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
        WHERE task.url LIKE %s AND run.first_started_at >= %s
    """
    return [late for (late,) in harness.query(statement, "%/sound/%", since)]


def measure_lateness(harness: Harness, seconds: float) -> list[float]:
    began = datetime.now(UTC)
    end = began + timedelta(seconds=seconds)
    wanted = int(SOUND_TASKS * seconds * 0.9)
    eventually(
        lambda: datetime.now(UTC) >= end and len(lateness(harness, began)) >= wanted,
        timeout=seconds + 60,
        every=0.5,
    )
    return lateness(harness, began)


def create_hostile_tasks(
    harness: Harness, session: requests.Session, generator: TaskGenerator
) -> Counter[int]:
    """How many tasks were answered with each status."""

    def create(task: dict[str, Any]) -> int:
        url = f"{harness.url}/tasks/"
        return session.post(url, json=task, timeout=60).status_code

    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(4) as pool:
        # Few at a time: on a busy machine the start of a task passes before it is sent.
        for _ in range(HOSTILE_TASKS // 20):
            statuses.update(pool.map(create, [generator.task() for _ in range(20)]))
    return statuses


def count_missed_sound_runs(harness: Harness) -> int:
    statement = """
        SELECT count(*) FROM tasks_api_run run
        JOIN tasks_api_task task ON task.id = run.task_id
        WHERE task.url LIKE %s AND run.state <> ALL(%s)
    """
    states = ["succeeded", "running", "pending"]
    return int(harness.query(statement, "%/sound/%", states)[0][0])


@pytest.mark.parametrize("seed", [SEED])
def test_hostile_tasks_of_one_tenant_do_not_delay_another_tenant(
    harness: Harness, target: Receiver, other_tenant: requests.Session, seed: int
) -> None:
    target.answer("/hangs", delay=20)
    parts = {name: harness.start_part(name) for name in ("worker", "beat")}
    eventually(harness.is_ready)
    create_sound_tasks(harness, target.url)
    target.wait_for(SOUND_TASKS)
    alone = measure_lateness(harness, WATCH_SECONDS)

    generator = TaskGenerator(seed, target.url)
    statuses = create_hostile_tasks(harness, other_tenant, generator)
    corrupt_rows(harness, generator)
    beside = measure_lateness(harness, 2 * WATCH_SECONDS)

    assert set(statuses) <= {201, 400, 409}, statuses
    assert statuses[201] >= HOSTILE_TASKS / 2, statuses
    assert all(process.poll() is None for process in parts.values())
    # A look at the database may take a second, without any hostile tasks.
    assert statistics.median(beside) <= statistics.median(alone) + 0.25
    assert statistics.quantiles(beside, n=20)[-1] <= max(alone) + 1.0
    assert count_missed_sound_runs(harness) == 0
    for name, process in parts.items():
        harness.stop_process(process, signal.SIGTERM)
        assert process.returncode == 0, name
    assert repeated_lines(harness.read_logs()) == {}


def repeated_lines(logs: str) -> dict[str, int]:
    """The lines that are logged too often, without ids and numbers."""
    assert "Traceback" not in logs, logs[logs.index("Traceback") :][:3000]
    lines = Counter(
        re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "…", line)
        for line in logs.splitlines()
        if " WARNING " in line or " ERROR " in line
    )
    return {line: count for line, count in lines.items() if count > MAX_REPEATS}
