"""Clients that create tasks through a door, and remember what they were told."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import requests

from tests.acceptance.tasks import in_seconds

# Seconds after which a task of a caller is due.
LEAD = 1.0
# Seconds between two tasks of a caller.
PAUSE = 0.05


class Answered(NamedTuple):
    """An answer that is not a refusal while the tenant moves."""

    started_at: float
    ended_at: float
    cell: str


class TaskCaller(threading.Thread):
    """Creates one-time tasks and reads each of them, one after the other."""

    def __init__(self, door: str, target: str, token: str, name: str) -> None:
        super().__init__(daemon=True)
        self._door, self._target, self._prefix = door, target, name
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._stopping = threading.Event()
        self.answers: list[Answered] = []
        # The paths of the tasks that were acknowledged.
        self.acknowledged: list[str] = []
        self.refused = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        for number in range(1_000_000):
            if self._stopping.wait(PAUSE):
                return
            self._create(f"/{self._prefix}-{number}")

    def _create(self, path: str) -> None:
        body = {
            "task_type": "one_time",
            "run_datetime": in_seconds(LEAD).isoformat(),
            "url": f"{self._target}{path}",
        }
        made = self._ask("POST", "/tasks/", body)
        if made is None:
            return
        self.acknowledged.append(path)
        self._ask("GET", f"/tasks/id/{made.json()['id']}")

    def _ask(
        self, method: str, path: str, body: object = None
    ) -> requests.Response | None:
        """An answer with a 2xx; None if the tenant moves at this moment."""
        began_at = time.monotonic()
        answer = self._session.request(
            method, f"{self._door}{path}", json=body, timeout=30
        )
        if answer.status_code == 503 and "Retry-After" in answer.headers:
            self.refused += 1
            time.sleep(0.1)
            return None
        cell = answer.headers.get("X-Scheduler-Cell", "")
        self.answers.append(Answered(began_at, time.monotonic(), cell))
        if not answer.ok:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
            return None
        return answer

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=60)
        assert not self.is_alive()
        self._session.close()
