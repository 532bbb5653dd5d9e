"""Whatever one tenant's tasks are, another tenant's fire as if they were alone.

Tasks are drawn at random over all fields and their extremes, hundreds of them, some of
their rows are spoilt as no door would let them, and all live beside a sound tenant's.
`TROUBLE_SEED=7` draws others.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import string
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import psycopg
import pytest
import requests

from tests.acceptance.stand import Stand, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

SEED = int(os.environ.get("TROUBLE_SEED", "1"))
TROUBLE = 500
# How long the sound tenant is watched, alone and with the others.
SPAN = 15.0
SOUND = 10
# As often as a fault may be said, each time of another run.
REPEATED = 20
FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
ZONES = sorted(available_timezones())
LONGEST = 2**31 - 1


def written(at: datetime) -> str:
    return at.isoformat()


class Draw:
    """Draws the body of a task; what is odd about it is nearly always several things."""

    def __init__(self, seed: int, url: str) -> None:
        self.random = random.Random(seed)
        self.url = url

    def task(self) -> dict[str, Any]:
        kind = self.random.choice(("frequency", "cron", "cron", "one_time"))
        task = getattr(self, kind)() | self.target() | self.policies(kind)
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

    def soon(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.random.uniform(2, 8))

    def end(self, start: datetime, least: float) -> datetime:
        room = (FOR_EVER - start).total_seconds()
        exact = start + timedelta(seconds=min(least, room))
        return self.random.choice((FOR_EVER, exact, FOR_EVER - timedelta(days=1)))

    def frequency(self) -> dict[str, Any]:
        every = int(10 ** self.random.uniform(0.5, 9.33))
        start = self.soon()
        return {
            "task_type": "periodic",
            "frequency": min(every, LONGEST),
            "start_datetime": written(start),
            "end_datetime": written(self.end(start, every)),
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
            task["end_datetime"] = written(self.end(datetime.now(UTC), 3600))
        if self.maybe(0.3):
            task["dst"] = {
                "gap": self.random.choice(("next_valid", "skip")),
                "overlap": self.random.choice(("first", "both")),
            }
        return task

    def one_time(self) -> dict[str, Any]:
        at = self.random.choice((self.soon(), self.soon(), FOR_EVER))
        return {"task_type": "one_time", "run_datetime": written(at)}

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


# Rows as only an older release, an operator or a fault could leave them.
SPOILS = (
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


def spoil(stand: Stand, draw: Draw) -> None:
    """Spoil every fifth row of the other tenant's, behind everybody's back."""
    [(short,)] = stand.query(
        "INSERT INTO django_celery_beat_intervalschedule (every, period) "
        "VALUES (1, 'microseconds') RETURNING id"
    )
    rows = stand.query(
        "SELECT id, periodic_task_id FROM tasks_api_task "
        "WHERE url NOT LIKE %s AND ended_at IS NULL ORDER BY id",
        "%/sound/%",
    )
    with psycopg.connect(stand.postgres.url) as connection:
        for task, stored in rows[::5]:
            statement = draw.random.choice(SPOILS)
            values = {"task": f"'{task}'", "stored": stored, "short": short}
            connection.execute(statement.format(**values))


@pytest.fixture
def trouble(stand: Stand) -> Iterator[requests.Session]:
    """A session of another tenant."""
    token = stand.manage("issue_token", "--tenant", "Beta", "--user", "bob")
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield session


def sound_tasks(stand: Stand, url: str) -> None:
    for n in range(SOUND):
        start = datetime.now(UTC) + timedelta(seconds=3 + n / SOUND)
        stand.create(
            task_type="periodic",
            frequency=1,
            start_datetime=written(start),
            end_datetime=written(start + timedelta(hours=1)),
            url=f"{url}/sound/{n}",
        )


def lateness(target: Receiver, since: float) -> list[float]:
    """How late each of the sound tenant's requests came, in seconds."""
    late = []
    for request in list(target.requests):
        if request.path.startswith("/sound/") and request.at >= since:
            planned = datetime.fromisoformat(request.headers["x-scheduled-for"])
            late.append(request.at - planned.timestamp())
    return late


def watch(target: Receiver, seconds: float) -> list[float]:
    began = time.time()
    wanted = int(SOUND * seconds * 0.9)
    eventually(
        lambda: (
            time.time() - began >= seconds and len(lateness(target, began)) >= wanted
        ),
        timeout=seconds + 60,
    )
    return lateness(target, began)


@pytest.mark.parametrize("seed", [SEED])
def test_one_tenants_tasks_are_no_other_tenants_trouble(
    stand: Stand, target: Receiver, trouble: requests.Session, seed: int
) -> None:
    target.answer("/hangs", delay=20)
    parts = {name: stand.run(name) for name in ("worker", "beat")}
    eventually(stand.is_ready)
    sound_tasks(stand, target.url)
    target.wait_for(SOUND)
    alone = watch(target, SPAN)

    draw = Draw(seed, target.url)
    answers: list[requests.Response] = []
    with ThreadPoolExecutor(4) as pool:
        # Few at a time, or a busy machine sends many when their start has passed.
        for _ in range(TROUBLE // 20):
            tasks = [draw.task() for _ in range(20)]
            answers += pool.map(
                lambda task: trouble.post(f"{stand.url}/tasks/", json=task, timeout=60),
                tasks,
            )
    spoil(stand, draw)
    beside = watch(target, 2 * SPAN)

    told = Counter(answer.status_code for answer in answers)
    assert set(told) <= {201, 400, 409}, told
    assert told[201] >= TROUBLE / 2, told
    assert all(process.poll() is None for process in parts.values())
    # A second is what a look at the database may take; it is none of the trouble's.
    assert statistics.median(beside) <= statistics.median(alone) + 0.25
    assert statistics.quantiles(beside, n=20)[-1] <= max(alone) + 1.0
    missed = stand.query(
        "SELECT count(*) FROM tasks_api_run run JOIN tasks_api_task task "
        "ON task.id = run.task_id WHERE task.url LIKE %s AND run.state <> ALL(%s)",
        "%/sound/%",
        ["succeeded", "running", "pending"],
    )
    assert missed == [(0,)]
    for name, process in parts.items():
        stand.end(process, signal.SIGTERM)
        assert process.returncode == 0, name
    assert repeated(stand.logs()) == {}


def repeated(logs: str) -> dict[str, int]:
    """The lines that say the same again and again, without what differs in each."""
    assert "Traceback" not in logs, logs[logs.index("Traceback") :][:3000]
    lines = Counter(
        re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "…", line)
        for line in logs.splitlines()
        if " WARNING " in line or " ERROR " in line
    )
    return {line: count for line, count in lines.items() if count > REPEATED}
