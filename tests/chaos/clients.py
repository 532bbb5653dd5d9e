"""Clients that create, pause, resume, replace and delete tasks, and note what they heard."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import requests

from tests.chaos.evidence import Call, Grid

# Seconds to connect and to be answered.
PATIENCE = (2.0, 6.0)
# How long a client lets pass between two looks at what it means to do.
PACE = 0.05
# How soon it asks again whether something is gone, when nobody told.
AGAIN = 1.0
# How often it asks when everything is whole.
TRIES = 20
# Seconds between two fire times of a cron; all of them divide a minute.
STEPS = (4, 5, 6, 10)
# How targets answer, as often as they are named here.
ANSWERS = ("ok",) * 12 + ("fail", "stall", "drip", "reset", "garbage")
# In seconds; targets send a heartbeat more often.
_LONG = {"long_work": {"deadline": 8}}
_RETRY = {"retry": {"max_attempts": 4, "min_delay": 1, "max_delay": 3}}
# What tasks ask for, and how their targets answer.
RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("stall", {"overlap": "skip"}),
    ("stall", {"overlap": "queue_one"}),
    ("work", {"overlap": "skip"} | _LONG),
    ("work", {"overlap": "queue_one"} | _LONG),
    ("work", _LONG | _RETRY),
    ("flaky", {"overlap": "queue_one"} | _RETRY),
    ("flaky", {"overlap": "skip"} | _RETRY),
)
CRON_ANSWERS = ("ok",) * 8 + (
    "flaky",
    "flaky",
    "busy",
    "stall",
    "reset",
    "garbage",
    "fail",
)


# Below it, every name leads to the target.
DOMAIN = "chaos.test"


class Service(NamedTuple):
    url: str
    token: str
    target: str


class Diary:
    """What was asked and answered, of all clients."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def note(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)


@dataclass
class Known:
    """A task as its client knows it."""

    mark: str
    task_id: str
    grid: Grid
    version: int = 0
    is_paused: bool = False
    is_unsure: bool = False
    is_gone: bool = False


class Client(threading.Thread):
    """Keeps some tasks alive, and changes its mind about them all the time."""

    kind = ""

    def __init__(self, number: int, seed: int, service: Service, diary: Diary) -> None:
        super().__init__(name=f"{self.kind}{number}", daemon=True)
        self.rng = random.Random(f"{seed} {self.name}")
        self.service = service
        self.known: list[Known] = []
        self._diary = diary
        self._numbers = itertools.count(1)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._stopped = threading.Event()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {service.token}"

    def begin(self) -> None:
        """Put the first things on the agenda."""
        raise NotImplementedError

    def run(self) -> None:
        self.begin()
        while not self._stopped.wait(PACE):
            while self._agenda and self._agenda[0][0] <= time.monotonic():
                heapq.heappop(self._agenda)[2]()
                if self._stopped.is_set():
                    break

    def stop(self) -> None:
        self._stopped.set()

    def clean_up(self) -> None:
        """Remove what is left, until it is said to be gone. Called when all is whole."""
        for task in self.known:
            if task.is_paused and not (task.is_unsure or task.is_gone):
                self.resume(task)
            if task.grid.every or task.is_unsure:
                self._remove(task)

    def _remove(self, task: Known) -> None:
        for _ in range(TRIES):
            if task.is_gone:
                return
            self.delete(task)
        raise AssertionError(f"{task} cannot be removed")

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        order = next(self._numbers)
        heapq.heappush(self._agenda, (time.monotonic() + seconds, order, what))

    def new_mark(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    def say(
        self,
        mark: str,
        verb: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        grid: Grid | None = None,
        version: int = 0,
        is_cron: bool = False,
        is_prompt: bool = False,
    ) -> tuple[Call, Any]:
        sent, status, said = time.time(), None, None
        try:
            answer = self._session.request(
                method, self.service.url + path, json=body, timeout=PATIENCE
            )
            status = answer.status_code
            said = answer.json() if answer.ok and answer.content else None
        except (requests.RequestException, ValueError):
            # What was begun with it cannot be read to its end.
            self._session.close()
        call = Call(
            mark, verb, sent, time.time(), status, grid, is_cron, version, is_prompt
        )
        self._diary.note(call)
        return call, said

    def heard(self, task: Known, call: Call) -> bool:
        """Whether it was done; whoever is not sure removes the task."""
        if call.is_unsure and not task.is_unsure:
            task.is_unsure = True
            self.later(AGAIN, lambda: self.delete(task))
        task.is_gone |= call.is_gone or call.status == 404
        return call.is_done and not task.is_unsure

    def delete(self, task: Known) -> None:
        if task.is_gone:
            return
        call, _ = self.say(task.mark, "delete", "DELETE", f"/tasks/id/{task.task_id}")
        self.heard(task, call)
        if not task.is_gone:
            self.later(AGAIN, lambda: self.delete(task))

    def pause(self, task: Known) -> bool:
        call, _ = self.say(task.mark, "pause", "POST", f"/tasks/{task.task_id}/pause/")
        if self.heard(task, call):
            task.is_paused = True
        return task.is_paused

    def resume(self, task: Known) -> None:
        call, _ = self.say(
            task.mark, "resume", "POST", f"/tasks/{task.task_id}/resume/"
        )
        if self.heard(task, call):
            task.is_paused = False

    def target(self, how: str, mark: str, version: int = 0) -> str:
        return f"{self.service.target}/{how}/{mark}.{version}"


class OneTime(Client):
    """Tasks that run once; some are paused, and some removed about when they are due."""

    kind = "once"

    def begin(self) -> None:
        self.later(0.0, self.create)

    def create(self) -> None:
        self.later(self.rng.uniform(0.3, 1.2), self.create)
        mark, at = self.new_mark(), time.time() + self.rng.uniform(1.5, 8.0)
        grid = Grid(round(at * 10) * 100)
        url = self.target(self.rng.choice(ANSWERS), mark)
        if self.rng.random() < 0.2:
            self._create_rest_job(mark, grid, url)
            return
        body = {
            "task_type": "one_time",
            "run_datetime": written(grid.start),
            "url": url,
        }
        call, said = self.say(mark, "create", "POST", "/tasks/", body, grid=grid)
        if call.is_done:
            task = Known(mark, said["id"], grid)
            self.known.append(task)
            self._change_mind(task)

    def _create_rest_job(self, mark: str, grid: Grid, url: str) -> None:
        task = {"method": "PUT", "uri": url, "body": {}, "expected_range": "200-299"}
        body = {"task": task, "schedule": written(grid.start)}
        self.say(
            mark, "create", "POST", "/api/v1/jobs", body, grid=grid, is_prompt=True
        )

    def _change_mind(self, task: Known) -> None:
        until_due = task.grid.start / 1000 - time.time()
        match self.rng.choice(("keep", "keep", "keep", "delete", "pause")):
            case "delete":
                self.later(
                    until_due + self.rng.uniform(-1.5, 0.5), lambda: self.delete(task)
                )
            case "pause":
                self.later(
                    until_due + self.rng.uniform(-1.5, 0.1), lambda: self._hold(task)
                )

    def _hold(self, task: Known) -> None:
        if self.pause(task):
            self.later(self.rng.uniform(0.5, 6.0), lambda: self.resume(task))


class Steady(Client):
    """Tasks that nobody touches: each of their fire times tells whether all is well."""

    kind = "steady"
    every = 4
    alive = 20

    def begin(self) -> None:
        start = round(time.time() * 1000) + 6000
        for number in range(self.alive):
            self._create(start + number * self.every * 1000 // self.alive)

    def _create(self, start: int) -> None:
        mark, step = self.new_mark(), self.every * 1000
        grid = Grid(start, step, start + 900 * step)
        body = {
            "task_type": "periodic",
            "frequency": self.every,
            "start_datetime": written(grid.start),
            "end_datetime": written(grid.end or 0),
            "url": self.target("ok", mark),
        }
        call, said = self.say(mark, "create", "POST", "/tasks/", body, grid=grid)
        if call.is_done:
            self.known.append(Known(mark, said["id"], grid))


class Periodic(Client):
    """Tasks that repeat every few seconds, paused and resumed now and then."""

    kind = "periodic"
    alive = 8

    def begin(self) -> None:
        for number in range(self.alive):
            self.later(number * 0.2, self.create)

    def create(self) -> None:
        self.later(self.rng.uniform(20.0, 40.0), self.create)
        how, rules = self.rules()
        mark, every = self.new_mark(), self.rng.choice((4, 4, 5, 7))
        start = int(time.time() * 1000 + self.rng.uniform(1000, 4000))
        grid = Grid(start, every * 1000, start + self.rng.randrange(8, 45) * 1000)
        body = {
            "task_type": "periodic",
            "frequency": every,
            "start_datetime": written(grid.start),
            "end_datetime": written(grid.end or 0),
            "url": self.target(how, mark),
            **rules,
        }
        call, said = self.say(mark, "create", "POST", "/tasks/", body, grid=grid)
        if call.is_done:
            task = Known(mark, said["id"], grid)
            self.known.append(task)
            self._think(task)

    def rules(self) -> tuple[str, dict[str, Any]]:
        """How the target answers, and what the task asks for."""
        return self.rng.choice(ANSWERS), {}

    def _think(self, task: Known) -> None:
        self.later(self.rng.uniform(3.0, 15.0), lambda: self._change_mind(task))

    def _change_mind(self, task: Known) -> None:
        if task.is_gone or task.is_unsure or time.time() * 1000 > (task.grid.end or 0):
            return
        if task.is_paused:
            self.resume(task)
        elif self.rng.random() < 0.2:
            self.delete(task)
        else:
            self.pause(task)
        self._think(task)


class Ruled(Periodic):
    """The same with overlap, retries, and work that outlives its requests."""

    kind = "ruled"
    alive = len(RULES)

    def __init__(self, number: int, seed: int, service: Service, diary: Diary) -> None:
        super().__init__(number, seed, service, diary)
        self._rules = itertools.cycle(RULES)

    def rules(self) -> tuple[str, dict[str, Any]]:
        return next(self._rules)


class Failing(Periodic):
    """Tasks that nobody touches, and that are to pause because their target fails."""

    kind = "failing"
    alive = 4

    def rules(self) -> tuple[str, dict[str, Any]]:
        return "fail", {"pause_after_failures": self.rng.choice((1, 2, 3))}

    def _think(self, task: Known) -> None:
        """Never."""


class Named(OneTime):
    """Tasks whose hosts are names that nobody has asked for before."""

    kind = "named"

    def target(self, how: str, mark: str, version: int = 0) -> str:
        url = super().target("ok", mark, version)
        return url.replace("127.0.0.1", f"{mark}.{DOMAIN}")


class Cron(Client):
    """Cron jobs under names of its own, replaced and removed now and then."""

    kind = "cron"
    alive = 6

    def begin(self) -> None:
        for number in range(self.alive):
            self.later(number * 0.3, self.create)

    def create(self) -> None:
        task = Known(self.new_mark(), "", self._grid())
        self.known.append(task)
        self._put(task, "create", task.grid)

    def _grid(self) -> Grid:
        step = self.rng.choice(STEPS)
        return Grid(self.rng.randrange(step) * 1000, step * 1000)

    def _put(self, task: Known, verb: str, grid: Grid) -> None:
        version = task.version + (verb == "replace")
        first, step = grid.start // 1000, grid.every // 1000
        body = {
            "id": task.mark,
            "endpoint": self.target(self.rng.choice(CRON_ANSWERS), task.mark, version),
            "cron": f"{first}/{step} * * * * *",
            "payload": {"version": version},
            "recovery_check": self.rng.random() < 0.5,
        }
        call, _ = self.say(
            task.mark, verb, "POST", "/", body, grid=grid, version=version, is_cron=True
        )
        if self.heard(task, call):
            task.grid, task.version = grid, version
        self.later(self.rng.uniform(6.0, 20.0), lambda: self._change_mind(task))

    def _change_mind(self, task: Known) -> None:
        if task.is_gone or task.is_unsure:
            return
        match self.rng.choice(("same", "other", "delete")):
            case "same":
                self._put(task, "replace", task.grid)
            case "other":
                self._put(task, "replace", self._grid())
            case "delete":
                self.delete(task)

    def delete(self, task: Known) -> None:
        if task.is_gone:
            return
        call, _ = self.say(
            task.mark, "delete", "DELETE", f"/?job_id={task.mark}", is_cron=True
        )
        self.heard(task, call)
        if task.is_gone:
            self.later(self.rng.uniform(0.5, 3.0), self.create)
        else:
            self.later(AGAIN, lambda: self.delete(task))

    def clean_up(self) -> None:
        for task in self.known:
            # What nobody answered may have brought it back.
            task.is_gone &= not task.is_unsure
            self._remove(task)


def written(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds")


def clients(seed: int, service: Service, diary: Diary) -> list[Client]:
    """Those who are content with what the release before can do."""
    kinds: tuple[type[Client], ...] = (OneTime, Periodic, Cron)
    changing = [kind(n, seed, service, diary) for kind in kinds for n in (1, 2)]
    others = [Ruled(1, seed, service, diary), Failing(1, seed, service, diary)]
    return [Steady(1, seed, service, diary), *changing, *others]
