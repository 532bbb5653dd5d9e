"""The base of the clients that change tasks all the time, and log each call and its answer."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict, Unpack

import requests

from tests.chaos.control_calls import ControlCalls
from tests.chaos.evidence import NOT_FOUND, ClientCall, FireTimes

# Seconds to connect, and to be answered.
TIMEOUTS = (2.0, 6.0)
# Seconds between two looks at the agenda.
AGENDA_INTERVAL = 0.05
# Seconds until a client asks again whether a task is gone, when it got no answer.
RETRY_DELAY = 1.0
# How often a client deletes a task while no part is broken any more.
MAX_DELETE_TRIES = 20


class ServiceAddress(NamedTuple):
    url: str
    token: str
    target_url: str
    # Another web, which is called in turns with the first one.
    second_url: str = ""


class TaskDetails(TypedDict, total=False):
    """What a task on the tasks surface asks for."""

    lane: str
    calendar: str
    calendar_use: str
    pace: float
    max_runs: int
    is_rule: bool


class CallDetails(TaskDetails, total=False):
    """What a client intended with a call, beside its verb."""

    fire_times: FireTimes
    version: int
    is_cron: bool
    makes_up: bool
    runs_if_late: bool
    catch_up: str


class CallLog:
    """The calls of all clients."""

    def __init__(self) -> None:
        self.calls: list[ClientCall] = []
        self.control = ControlCalls()
        # How many calls each web answered, by its URL.
        self.answers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def append(self, call: ClientCall) -> None:
        with self._lock:
            self.calls.append(call)

    def count_answer(self, url: str) -> None:
        with self._lock:
            self.answers[url] += 1


@dataclass
class KnownTask:
    """A task as its client knows it."""

    mark: str
    task_id: str
    fire_times: FireTimes
    version: int = 0
    is_paused: bool = False
    is_uncertain: bool = False
    is_gone: bool = False


class ChaosClient(threading.Thread):
    """Keeps some tasks alive, and changes them at random moments."""

    kind = ""

    def __init__(
        self, number: int, seed: int, service: ServiceAddress, call_log: CallLog
    ) -> None:
        super().__init__(name=f"{self.kind}{number}", daemon=True)
        self.rng = random.Random(f"{seed} {self.name}")
        self.service = service
        self.known_tasks: list[KnownTask] = []
        self.call_log = call_log
        self._numbers = itertools.count(1)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._stopped = threading.Event()
        webs = (service.url, service.second_url)
        self._webs = itertools.cycle(url for url in webs if url)
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {service.token}"

    def begin(self) -> None:
        """Put the first items on the agenda."""
        raise NotImplementedError

    def run(self) -> None:
        self.begin()
        while not self._stopped.wait(AGENDA_INTERVAL):
            while self._agenda and self._agenda[0][0] <= time.monotonic():
                heapq.heappop(self._agenda)[2]()
                if self._stopped.is_set():
                    break

    def stop(self) -> None:
        self._stopped.set()

    def clean_up(self) -> None:
        """Delete the remaining tasks. Call it once no part is broken any more."""
        for task in self.known_tasks:
            if task.is_paused and not (task.is_uncertain or task.is_gone):
                self.resume(task)
            if task.fire_times.every or task.is_uncertain:
                self.delete_until_gone(task)

    def delete_until_gone(self, task: KnownTask) -> None:
        for _ in range(MAX_DELETE_TRIES):
            if task.is_gone:
                return
            self.delete(task)
        raise AssertionError(f"{task} cannot be deleted")

    def schedule(self, seconds: float, action: Callable[[], None]) -> None:
        order = next(self._numbers)
        heapq.heappush(self._agenda, (time.monotonic() + seconds, order, action))

    def new_mark(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    def call(
        self,
        mark: str,
        verb: str,
        method: str,
        path: str,
        body: Any = None,
        **details: Unpack[CallDetails],
    ) -> tuple[ClientCall, Any]:
        """Call the service and log it with its details; returns the answer's JSON, too."""
        sent_at = time.time()
        status, answer = self.send(method, path, body)
        call = ClientCall(mark, verb, sent_at, time.time(), status, **details)
        self.call_log.append(call)
        return call, answer

    def send(self, method: str, path: str, body: Any = None) -> tuple[int | None, Any]:
        """Call the service; returns the status, None without one, and the JSON."""
        status, answer, url = None, None, next(self._webs)
        try:
            response = self._session.request(
                method, url + path, json=body, timeout=TIMEOUTS
            )
            status = response.status_code
            self.call_log.count_answer(url)
            answer = response.json() if response.ok and response.content else None
        except (requests.RequestException, ValueError):
            # A connection cannot be used again once its answer was cut off.
            self._session.close()
        return status, answer

    def record_answer(self, task: KnownTask, call: ClientCall) -> bool:
        """Whether the call was carried out; an uncertain client deletes the task."""
        if call.is_uncertain and not task.is_uncertain:
            task.is_uncertain = True
            self.schedule(RETRY_DELAY, lambda: self.delete(task))
        task.is_gone |= call.is_gone or call.status == NOT_FOUND
        return call.is_done and not task.is_uncertain

    def create_task(
        self, mark: str, fire_times: FireTimes, body: dict[str, Any]
    ) -> KnownTask | None:
        """The created task; None where the client was not told that there is one."""
        call, answer = self.call(
            *(mark, "create", "POST", "/tasks/", body),
            fire_times=fire_times,
            **read_details(body),
        )
        if not call.is_done:
            return None
        task = KnownTask(mark, answer["id"], fire_times)
        self.known_tasks.append(task)
        return task

    def delete(self, task: KnownTask) -> None:
        if task.is_gone:
            return
        call, _ = self.call(task.mark, "delete", "DELETE", f"/tasks/id/{task.task_id}")
        self.record_answer(task, call)
        if not task.is_gone:
            self.schedule(RETRY_DELAY, lambda: self.delete(task))

    def pause(self, task: KnownTask) -> bool:
        path = f"/tasks/{task.task_id}/pause/"
        call, _ = self.call(task.mark, "pause", "POST", path)
        if self.record_answer(task, call):
            task.is_paused = True
        return task.is_paused

    def resume(self, task: KnownTask) -> None:
        path = f"/tasks/{task.task_id}/resume/"
        call, _ = self.call(task.mark, "resume", "POST", path)
        if self.record_answer(task, call):
            task.is_paused = False

    def target_url(self, behaviour: str, mark: str, version: int = 0) -> str:
        return f"{self.service.target_url}/{behaviour}/{mark}.{version}"

    def show_answers(self, look: Callable[[requests.Response], None]) -> None:
        """Let somebody look at each answer from now on."""
        self._session.hooks["response"].append(lambda answer, **_: look(answer))


def read_details(body: dict[str, Any]) -> TaskDetails:
    """What the referee should know of a task on the tasks surface."""
    details: TaskDetails = {
        "lane": body.get("lane", ""),
        "max_runs": body.get("max_runs", 0),
        "is_rule": not body.keys().isdisjoint({"rrule", "schedules"}),
    }
    calendars = body.get("calendars", {})
    for use in ("exclude", "only", "hold"):
        if use in calendars:
            details |= {"calendar": calendars[use][0], "calendar_use": use}
    if "pace" in calendars:
        details["pace"] = 60 / int(calendars["pace"].removesuffix("/minute"))
    return details


def format_time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds")
