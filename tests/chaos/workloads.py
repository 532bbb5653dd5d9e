"""The clients of a round: each kind keeps tasks of one kind, and treats them in its own way."""

from __future__ import annotations

import itertools
import time
from typing import Any

from tests.chaos.clients import (
    RETRY_DELAY,
    CallLog,
    ChaosClient,
    KnownTask,
    ServiceAddress,
    format_time,
)
from tests.chaos.evidence import FireTimeGrid, FireTimes

# Seconds between two fire times of a cron; all of them divide a minute.
CRON_STEPS = (4, 5, 6, 10)
# The behaviours of targets, as often as they are named here.
BEHAVIOURS = ("ok",) * 12 + ("fail", "stall", "drip", "reset", "garbage")
CRON_BEHAVIOURS = (
    *("ok",) * 8,
    *("flaky", "flaky", "busy", "stall", "reset", "garbage", "fail"),
)
# In seconds; targets send a heartbeat more often.
_LONG_WORK = {"long_work": {"deadline": 8}}
_RETRY = {"retry": {"max_attempts": 4, "min_delay": 1, "max_delay": 3}}
# The behaviour of the target, and the policies of the task.
POLICY_CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("stall", {"overlap": "skip"}),
    ("stall", {"overlap": "queue_one"}),
    ("work", {"overlap": "skip"} | _LONG_WORK),
    ("work", {"overlap": "queue_one"} | _LONG_WORK),
    ("work", _LONG_WORK | _RETRY),
    ("flaky", {"overlap": "queue_one"} | _RETRY),
    ("flaky", {"overlap": "skip"} | _RETRY),
)
# Every name below it leads to the target.
DOMAIN = "chaos.test"


class OneTimeClient(ChaosClient):
    """Creates one-time tasks; pauses some, and deletes some about when they are due."""

    kind = "once"

    def begin(self) -> None:
        self.schedule(0.0, self.create)

    def create(self) -> None:
        self.schedule(self.rng.uniform(0.3, 1.2), self.create)
        mark, at = self.new_mark(), time.time() + self.rng.uniform(1.5, 8.0)
        fire_times = FireTimeGrid(round(at * 10) * 100)
        url = self.target_url(self.rng.choice(BEHAVIOURS), mark)
        if self.rng.random() < 0.2:
            self._create_rest_job(mark, fire_times, url)
            return
        body = {
            "task_type": "one_time",
            "run_datetime": format_time(fire_times.start),
            "url": url,
        }
        if task := self.create_task(mark, fire_times, body):
            self._schedule_change(task)

    def _create_rest_job(self, mark: str, fire_times: FireTimeGrid, url: str) -> None:
        task = {"method": "PUT", "uri": url, "body": {}, "expected_range": "200-299"}
        body = {"task": task, "schedule": format_time(fire_times.start)}
        self.call(
            *(mark, "create", "POST", "/api/v1/jobs", body),
            fire_times=fire_times,
            runs_if_late=True,
        )

    def _schedule_change(self, task: KnownTask) -> None:
        until_due = task.fire_times.start / 1000 - time.time()
        match self.rng.choice(("keep", "keep", "keep", "delete", "pause")):
            case "delete":
                delay = until_due + self.rng.uniform(-1.5, 0.5)
                self.schedule(delay, lambda: self.delete(task))
            case "pause":
                delay = until_due + self.rng.uniform(-1.5, 0.1)
                self.schedule(delay, lambda: self._pause_and_resume(task))

    def _pause_and_resume(self, task: KnownTask) -> None:
        if self.pause(task):
            self.schedule(self.rng.uniform(0.5, 6.0), lambda: self.resume(task))


class NewHostClient(OneTimeClient):
    """Creates one-time tasks whose host names nobody has resolved before."""

    kind = "named"

    def target_url(self, behaviour: str, mark: str, version: int = 0) -> str:
        url = super().target_url("ok", mark, version)
        return url.replace("127.0.0.1", f"{mark}.{DOMAIN}")


class SteadyClient(ChaosClient):
    """Leaves its tasks alone: each of their fire times shows whether all is well."""

    kind = "steady"
    seconds_between_fires = 4
    task_count = 20

    def begin(self) -> None:
        start, step = (
            round(time.time() * 1000) + 6000,
            self.seconds_between_fires * 1000,
        )
        for number in range(self.task_count):
            self._create(start + number * step // self.task_count)

    def _create(self, start: int) -> None:
        mark, step = self.new_mark(), self.seconds_between_fires * 1000
        fire_times = FireTimeGrid(start, step, start + 900 * step)
        body = periodic_body(fire_times, self.target_url("ok", mark))
        self.create_task(mark, fire_times, body)


class PeriodicClient(ChaosClient):
    """Creates tasks that repeat every few seconds, and pauses and resumes them."""

    kind = "periodic"
    task_count = 8

    def begin(self) -> None:
        for number in range(self.task_count):
            self.schedule(number * 0.2, self.create)

    def create(self) -> None:
        self.schedule(self.rng.uniform(20.0, 40.0), self.create)
        behaviour, policies = self.choose_case()
        mark, every = self.new_mark(), self.rng.choice((4, 4, 5, 7))
        start = int(time.time() * 1000 + self.rng.uniform(1000, 4000))
        end = start + self.rng.randrange(8, 45) * 1000
        fire_times = FireTimeGrid(start, every * 1000, end)
        body = periodic_body(fire_times, self.target_url(behaviour, mark))
        if task := self.create_task(mark, fire_times, body | policies):
            self.schedule_change(task)

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        """The behaviour of the target, and the policies of the task."""
        return self.rng.choice(BEHAVIOURS), {}

    def schedule_change(self, task: KnownTask) -> None:
        self.schedule(self.rng.uniform(3.0, 15.0), lambda: self._change(task))

    def _change(self, task: KnownTask) -> None:
        is_over = time.time() * 1000 > (task.fire_times.end or 0)
        if task.is_gone or task.is_uncertain or is_over:
            return
        if task.is_paused:
            self.resume(task)
        elif self.rng.random() < 0.2:
            self.delete(task)
        else:
            self.pause(task)
        self.schedule_change(task)


class PolicyClient(PeriodicClient):
    """Creates tasks with overlap policies, retries, and work that outlives its request."""

    kind = "ruled"
    task_count = len(POLICY_CASES)

    def __init__(
        self, number: int, seed: int, service: ServiceAddress, call_log: CallLog
    ) -> None:
        super().__init__(number, seed, service, call_log)
        self._cases = itertools.cycle(POLICY_CASES)

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        return next(self._cases)


class FailingClient(PeriodicClient):
    """Leaves its tasks alone, which must pause because their target fails."""

    kind = "failing"
    task_count = 4

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        return "fail", {"pause_after_failures": self.rng.choice((1, 2, 3))}

    def schedule_change(self, task: KnownTask) -> None:
        """Schedule none."""


class CronClient(ChaosClient):
    """Stores cron jobs under names of its own, and replaces and deletes them."""

    kind = "cron"
    task_count = 6

    def begin(self) -> None:
        for number in range(self.task_count):
            self.schedule(number * 0.3, self.create)

    def create(self) -> None:
        task = KnownTask(self.new_mark(), "", self._choose_fire_times())
        self.known_tasks.append(task)
        self._store(task, "create", task.fire_times)

    def _choose_fire_times(self) -> FireTimeGrid:
        step = self.rng.choice(CRON_STEPS)
        return FireTimeGrid(self.rng.randrange(step) * 1000, step * 1000)

    def _store(self, task: KnownTask, verb: str, fire_times: FireTimes) -> None:
        version = task.version + (verb == "replace")
        first, step = fire_times.start // 1000, fire_times.every // 1000
        behaviour = self.rng.choice(CRON_BEHAVIOURS)
        makes_up = self.rng.random() < 0.5
        body = {
            "id": task.mark,
            "endpoint": self.target_url(behaviour, task.mark, version),
            "cron": f"{first}/{step} * * * * *",
            "payload": {"version": version},
            "recovery_check": makes_up,
        }
        call, _ = self.call(
            *(task.mark, verb, "POST", "/", body),
            fire_times=fire_times,
            version=version,
            is_cron=True,
            makes_up=makes_up,
        )
        if self.record_answer(task, call):
            task.fire_times, task.version = fire_times, version
        self.schedule(self.rng.uniform(6.0, 20.0), lambda: self._change(task))

    def _change(self, task: KnownTask) -> None:
        if task.is_gone or task.is_uncertain:
            return
        match self.rng.choice(("same", "other", "delete")):
            case "same":
                self._store(task, "replace", task.fire_times)
            case "other":
                self._store(task, "replace", self._choose_fire_times())
            case "delete":
                self.delete(task)

    def delete(self, task: KnownTask) -> None:
        if task.is_gone:
            return
        path = f"/?job_id={task.mark}"
        call, _ = self.call(task.mark, "delete", "DELETE", path, is_cron=True)
        self.record_answer(task, call)
        if task.is_gone:
            self.schedule(self.rng.uniform(0.5, 3.0), self.create)
        else:
            self.schedule(RETRY_DELAY, lambda: self.delete(task))

    def clean_up(self) -> None:
        for task in self.known_tasks:
            # A call without an answer may have brought it back.
            task.is_gone &= not task.is_uncertain
            self.delete_until_gone(task)


def periodic_body(fire_times: FireTimeGrid, url: str) -> dict[str, Any]:
    return {
        "task_type": "periodic",
        "frequency": fire_times.every // 1000,
        "start_datetime": format_time(fire_times.start),
        "end_datetime": format_time(fire_times.end or 0),
        "url": url,
    }


def make_clients(
    seed: int, service: ServiceAddress, call_log: CallLog
) -> list[ChaosClient]:
    """The clients that need no more than the release before can do."""
    kinds: tuple[type[ChaosClient], ...] = (OneTimeClient, PeriodicClient, CronClient)
    changing = [kind(n, seed, service, call_log) for kind in kinds for n in (1, 2)]
    return [
        SteadyClient(1, seed, service, call_log),
        *changing,
        PolicyClient(1, seed, service, call_log),
        FailingClient(1, seed, service, call_log),
    ]
