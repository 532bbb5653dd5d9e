"""Whatever the holder of a bounded token tries, what starts stays within the bounds.

Time is virtual: instead of waiting, all moments that are stored move back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.db.models import F
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import TokenBounds, User
from tasks_api.delivery.request import ClaimedRun, Credentials, HttpResult
from tasks_api.models import BoundedStart, Run, Task
from tasks_api.services import lapsing
from tasks_api.taking import due_tasks, leases, waiting_runs
from tasks_api.taking.room import Room
from tasks_api.worker import bounded_requests, request_builder, verdicts
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
RUNS_PER_DAY = 100
# Calls between two moments at which time passes, and a worker is at work.
STEP = 25
RENEW_WITHIN = 7 * DAY
HOST = "api.example.com"
BOUNDS = {
    "hosts": [HOST],
    "runs_per_day": RUNS_PER_DAY,
    "renew_within": int(RENEW_WITHIN.total_seconds()),
}
URLS = (
    f"https://{HOST}/hooks/a",
    f"https://{HOST}/hooks/a",
    f"https://{HOST}/b?x=https://evil.example/",
    "https://evil.example/",
    f"https://evil.example/{HOST}",
    f"https://{HOST}@evil.example/",
    f"https://evil.example#@{HOST}/",
    f"https://{HOST}.evil.example/",
    f"https://{HOST}:8443/",
    f"https://evil.example:443/?{HOST}",
    f"https://user:{HOST}@evil.example/a",
)


class World:
    """A token with bounds, its holder, and a worker that notes what it starts."""

    def __init__(self, user: User, admin: User, seed: int) -> None:
        self.random = random.Random(seed)
        self.wide, self.admin = client_with_token(user), client_with_token(admin)
        made = self.wide.post("/tokens/", {"bounds": BOUNDS}, format="json").json()
        self.token_path = f"/tokens/{made['id']}/"
        self.holders = [_client_of(made["token"])]
        self.passed = timedelta()
        self.renewed_at = self.now
        self.starts: list[datetime] = []
        self.hosts: set[str | None] = set()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    @property
    def holder(self) -> APIClient:
        return self.random.choice(self.holders)

    def let_pass(self, time: timedelta) -> None:
        self.passed += time
        BoundedStart.objects.update(started_at=F("started_at") - time)
        Run.objects.filter(stage="live").update(wake_at=F("wake_at") - time)
        TokenBounds.objects.update(ends_at=F("ends_at") - time)
        # A long time passes in one step, so each task is due once in it.
        Task.objects.exclude(next_fire_at=None).update(next_fire_at=timezone.now())

    def work(self) -> None:
        """Start and end what may start now, as a worker and a beat do."""
        while lapsing.end_lapsed():
            pass
        room = Room()
        while runs := [
            *due_tasks.take_due(room, leases.new_lease(0)).runs,
            *waiting_runs.take_waiting(room, leases.new_lease(0)).runs,
        ]:
            self._send(runs)

    def _send(self, runs: list[ClaimedRun]) -> None:
        now = datetime.now(UTC)
        build = bounded_requests.with_bounds(request_builder.make_builder(now), runs)
        results = []
        for run in runs:
            built = request_builder.try_build(build, run, Credentials(["whsec_YQ=="]))
            if not isinstance(built, HttpResult):
                self.starts.append(self.now)
                self.hosts.add(urlsplit(getattr(built, "url", "")).hostname)
                built = HttpResult(self.random.choice((200, 202, 307, 503)), "", 1)
            results.append(verdicts.judge_attempt(run, built, now))
        verdicts.write_results(results)

    # What a holder tries.

    def url(self) -> str:
        return self.random.choice(URLS)

    def task(self, **more: Any) -> dict[str, Any]:
        body: dict[str, Any] = {"task_type": "one_time", "url": self.url(), **more}
        body["run_datetime"] = (timezone.now() + timedelta(hours=1)).isoformat()
        if self.random.random() < 0.4:
            body["tags"] = ["t"]
        if self.random.random() < 0.4:
            body |= {"task_type": "periodic", "cron": "0 * * * *"}
        if self.random.random() < 0.3:
            body["retry"] = {"max_attempts": 5, "min_delay": 1}
        return body

    def name(self) -> str:
        return f"n{self.random.randrange(30)}"

    def some_task(self) -> str:
        ids = list(Task.objects.order_by("-pk").values_list("pk", flat=True)[:40])
        return str(self.random.choice(ids)) if ids else "none"

    def some_run(self) -> str:
        ids = list(Run.objects.order_by("-pk").values_list("pk", flat=True)[:40])
        return str(self.random.choice(ids)) if ids else "none"

    def post(self, path: str, body: Any = None, api: APIClient | None = None) -> Any:
        return (api or self.holder).post(path, body or {}, format="json")

    def create(self) -> Any:
        return self.post("/tasks/", self.task())

    def create_many(self) -> Any:
        return self.post("/tasks/bulk/", {"tasks": [self.task() for _ in range(3)]})

    def put(self) -> Any:
        path = f"/tasks/by-name/{self.name()}/"
        return self.holder.put(path, self.task(), format="json")

    def edit(self) -> Any:
        api = self.random.choice([*self.holders, self.wide])
        body = {"url": self.url()}
        return api.patch(f"/tasks/{self.some_task()}/", body, format="json")

    def apply(self) -> Any:
        tasks = [{**self.task(), "name": self.name() + str(i)} for i in range(2)]
        return self.post("/tasks/apply/", {"tag": "t", "tasks": tasks})

    def run(self) -> Any:
        return self.post(f"/tasks/{self.some_task()}/run/")

    def pause_and_resume(self) -> Any:
        path = f"/tasks/{self.some_task()}"
        self.post(f"{path}/pause/")
        return self.post(f"{path}/resume/")

    def redrive(self) -> Any:
        return self.post(f"/runs/{self.some_run()}/redrive/", api=self._anyone())

    def redrive_all(self) -> Any:
        return self.post("/runs/redrive/", {"state": ["failed"]}, api=self._anyone())

    def cancel(self) -> Any:
        self.post("/runs/cancel/", {"state": ["pending", "retrying"]})
        return self.post(f"/runs/{self.some_run()}/cancel/")

    def backfill(self) -> Any:
        since = (timezone.now() - 2 * DAY).isoformat()
        body = {"from": since, "which": self.random.choice(("all", "missed"))}
        return self.post(f"/tasks/{self.some_task()}/backfill/", body, self._anyone())

    def catch_up(self) -> Any:
        """Pause all that may be seen, and make up for the pause when it is over."""
        api, seen = self._anyone(), {"filter": {"tag": "t"}}
        self.post("/tasks/pause/", {**seen, "reason": "later"}, api)
        self.let_pass(timedelta(hours=3))
        return self.post("/tasks/resume/", {**seen, "catch_up": "all"}, api)

    def change(self) -> Any:
        """Change what has a tag: the plan first, and then what was planned."""
        wanted = self.random.choice(
            (
                {"url": self.url()},
                {"url_host": self.random.choice((HOST, "evil.example"))},
                {"set_headers": {"Host": "evil.example"}},
                {"cron": "* * * * *"},
                {"retry": {"max_attempts": 5, "min_delay": 1}},
                {"lane": self.name()},
            )
        )
        api, body = self._anyone(), {"filter": {"tag": "t"}, "set": wanted}
        plan = self.post("/tasks/change/", {**body, "dry_run": True}, api)
        if plan.status_code != 200:
            return plan
        return self.post("/tasks/change/", {**body, "hash": plan.json()["hash"]}, api)

    def lane(self) -> Any:
        name = self.name()
        rate = {"limit": 1000, "per": "second"}
        self.post("/lanes/", {"name": name, "rate": rate}, self.admin)
        verb = self.random.choice(("pause", "resume"))
        self.post(f"/lanes/{name}/{verb}/", api=self._anyone())
        return self.post("/tasks/", self.task(lane=name))

    def calendar(self) -> Any:
        """A calendar that holds nothing back, or everything, and a task on it."""
        name, days = self.name(), ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        weekdays = self.random.choice(([], days))
        calendar = {"name": name, "weekdays": weekdays}
        self.post("/calendars/", calendar, self.admin)
        self.holder.put(f"/calendars/{name}", {"weekdays": []}, format="json")
        return self.post("/tasks/", self.task(calendars={"exclude": [name]}))

    def read(self) -> Any:
        path = self.random.choice(("why/", "fire-times/", "", "runs/"))
        return self.holder.get(f"/tasks/{self.some_task()}/{path}")

    def _anyone(self) -> APIClient:
        """A holder, a member without bounds, or an administrator of the tenant."""
        return self.random.choice([*self.holders, self.wide, self.admin])

    def cron_job(self) -> Any:
        job = {"id": self.name(), "endpoint": self.url(), "payload": 1}
        return self.post("/", {**job, "cron": "* * * * *"})

    def rest_job(self) -> Any:
        request = {"method": "POST", "uri": self.url(), "body": {}}
        task = {**request, "expected_range": "200-299"}
        return self.post("/api/v1/jobs", {"task": task, "schedule": "now"})

    def timer(self) -> Any:
        return self.post("/insert", {"timestamp": "2020-01-01T00:00:00", "body": 1})

    def message(self) -> Any:
        return self.post("/enqueue", {"id": "a", "queue": "q", "timeout": 1})

    def queue_task(self) -> Any:
        return self.post("/tasks/", self.task(url=None, queue="q"))

    def mint(self) -> Any:
        wanted = self.random.choice(
            (
                {},
                {"bounds": {"runs_per_day": 50}},
                {"bounds": {"hosts": ["evil.example"]}},
            )
        )
        made = self.post("/tokens/", wanted)
        if made.status_code == 201 and len(self.holders) < 6:
            self.holders.append(_client_of(made.json()["token"]))
        return made

    def administer(self) -> Any:
        path = self.random.choice(("/users/", "/channels/", "/signing-secrets/rotate/"))
        return self.post(path, {"name": "eve", "role": "admin"})

    def renew(self) -> Any:
        if self.random.random() < 0.2:
            answer = self.post(f"{self.token_path}renew/", api=self.holders[0])
            if answer.status_code == 200:
                self.renewed_at = self.now
            return answer
        return self.holder.get("/usage/")


def _client_of(token: str) -> APIClient:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api


def try_everything(world: World, calls: int, *, renews: bool) -> None:
    tricks: list[Callable[[], Any]] = [
        world.create, world.create_many, world.put, world.edit, world.apply, world.run,
        world.run, world.run, world.pause_and_resume, world.redrive, world.redrive_all,
        world.cron_job, world.rest_job, world.rest_job, world.timer, world.message,
        world.queue_task, world.mint, world.administer, world.cancel, world.backfill,
        world.catch_up, world.change, world.change, world.lane, world.calendar, world.read,
    ]  # fmt: skip
    if renews:
        tricks.append(world.renew)
    for number in range(calls):
        answer = world.random.choice(tricks)()
        assert answer.status_code < 500, answer.content
        if number % STEP == 0:
            world.work()
            world.let_pass(timedelta(hours=world.random.uniform(0, 10)))
    world.work()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("calls", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_starts_beyond_the_bounds(
    user: User, tenant_admin: User, settings: LazySettings, calls: int
) -> None:
    settings.SCHEDULER_MIN_FREQUENCY = 60
    world = World(user, tenant_admin, seed=calls)
    try_everything(world, calls * 3 // 4, renews=True)
    last = world.renewed_at
    while world.now < last + RENEW_WITHIN:
        try_everything(world, 5, renews=False)
    begun = len(world.starts)
    try_everything(world, calls // 4, renews=False)

    assert world.hosts == {HOST}
    assert begun > RUNS_PER_DAY
    # Nothing starts once the bounds have lapsed.
    assert len(world.starts) == begun
    assert max(world.starts) < last + RENEW_WITHIN
    for first, later in zip(world.starts, world.starts[RUNS_PER_DAY:], strict=False):
        assert later - first > DAY
