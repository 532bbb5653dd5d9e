"""The whole service under load, on brokers of which one dies."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.acceptance.harness import Harness, eventually, free_port, readiness
from tests.acceptance.tasks import create_task_at, in_seconds, is_all_done
from tests.receiver import Receiver

# Seconds for all parts to start on a busy machine.
START_TIMEOUT = 120.0
FLOWER_LOGIN = ("ann", "of-flower")
PARTS = ("web", "worker", "worker", "beat", "flower")
# Seconds between two tasks, and from the creation of a task to its fire time.
PACE, AHEAD = 0.1, 1.5


class BrokerService:
    """Web, two workers, a beat and Flower, with the broker that the settings name."""

    def __init__(self, harness: Harness, settings: dict[str, str]) -> None:
        self.harness = harness
        self._settings = settings | {
            "PORT": str(port := free_port()),
            "FLOWER_PORT": str(flower_port := free_port()),
            "FLOWER_BASIC_AUTH": ":".join(FLOWER_LOGIN),
        }
        self.url = f"http://127.0.0.1:{port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self.parts: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """The service, to which the harness talks meanwhile."""
        before, self.harness.url = self.harness.url, self.url
        try:
            for name in PARTS:
                self.parts.append(self.harness.start_part(name, **self._settings))
            eventually(lambda: self.harness.is_ready(workers=2), timeout=START_TIMEOUT)
            eventually(
                lambda: self.read_flower("/healthcheck") == "OK", timeout=START_TIMEOUT
            )
            yield
        finally:
            self.harness.url = before
            for part in self.parts:
                self.harness.stop_process(part, signal.SIGTERM)

    def has_stopped(self) -> bool:
        return any(part.poll() is not None for part in self.parts)

    def read_broker_state(self) -> str:
        found = readiness(self.url)
        return str(found[1].get("broker")) if found else ""

    def read_flower(self, path: str) -> str:
        try:
            answer = requests.get(
                f"{self.flower_url}{path}", auth=FLOWER_LOGIN, timeout=10
            )
        except requests.RequestException:
            return ""
        return answer.text

    def read_metrics(self) -> str:
        answer = self.harness.api.get(f"{self.url}/metrics", timeout=20)
        assert answer.status_code == 200
        return str(answer.text)


class SteadyTasks:
    """Creates one-time tasks, one after the other, until it is told to stop."""

    def __init__(
        self, harness: Harness, target: Receiver, *, ahead: float = AHEAD
    ) -> None:
        self._harness = harness
        self._target = target
        self._ahead = ahead
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._create)
        # What went wrong in the thread.
        self._errors: list[Exception] = []
        self.created = 0

    def __enter__(self) -> SteadyTasks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _create(self) -> None:
        while not self._is_over.wait(PACE):
            try:
                create_task_at(
                    self._harness, f"{self._target.url}/x", in_seconds(self._ahead)
                )
            except Exception as error:  # noqa: BLE001 (the test shows it)
                self._errors.append(error)
                return
            self.created += 1

    def wait_for_more(self, count: int) -> None:
        """Wait until more of them have arrived."""
        assert not self._errors, self._errors
        arrived = len(self._target.requests)
        self._target.wait_for(arrived + count, timeout=90)

    def wait_for_all(self) -> None:
        assert not self._errors, self._errors
        self._target.wait_for(self.created, timeout=90)
        eventually(lambda: is_all_done(self._harness))
