"""A tenant that stores harmful tasks, and the harmful messages of a round."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.broker_messages import NO_CALLBACKS, UNREADABLE_MESSAGES, build_message
from tests.chaos.clients import ChaosClient, format_time
from tests.chaos.evidence import POISON

LATEST_END = "9999-12-31T23:59:59Z"
# Seconds between two poisonous requests.
REQUEST_INTERVAL = 1.5
MESSAGES: tuple[str | bytes, ...] = (
    *UNREADABLE_MESSAGES,
    "garbage",
    build_message({}),
    build_message([]),
    build_message([[[str(uuid.UUID(int=7))]], {}, NO_CALLBACKS]),
)


class HostileClient(ChaosClient):
    """Stores what has hurt before: far ends, far years, URLs that are read in two ways."""

    kind = POISON

    def begin(self) -> None:
        self._requests = itertools.cycle(self._all_requests())
        self.schedule(0.0, self.create)

    def create(self) -> None:
        self.schedule(REQUEST_INTERVAL, self.create)
        path, body = next(self._requests)
        self.call(self.new_mark(), "create", "POST", path, body)

    def _all_requests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        url = self.target_url("ok", "x").replace("/ok/", f"/{POISON}/")
        start = self._start_time()
        periodic = {"task_type": "periodic", "url": url, "start_datetime": start}
        for body in self._far_ends():
            yield "/tasks/", periodic | body
        for cron in self._rare_crons():
            yield "/tasks/", periodic | {"cron": cron, "timezone": "Europe/Berlin"}
        for cron in ("0 * 0 29 2 * 9996", "* */59 2-5/10 19 * */7 9996-9999"):
            far = periodic | {"cron": cron, "timezone": "Europe/Berlin"}
            yield "/tasks/", far
            yield "/tasks/preview", far | {"n": 1}
        once = {"task_type": "one_time", "run_datetime": self._start_time()}
        for host in ("us\uff03er:pw@127.0.0.1:9", "[::1]@127.0.0.1:9", "127.0.0.1:9"):
            yield "/tasks/", once | {"url": f"http://{host}/{POISON}/x.0"}

    def _far_ends(self) -> Iterator[dict[str, Any]]:
        for overlap in ("skip", "queue_one", "allow"):
            policies = {"overlap": overlap, "end_datetime": LATEST_END}
            yield policies | {"cron": "*/4 * * * * *"}
            yield policies | {"frequency": 4}
        yield {"frequency": 4, "end_datetime": LATEST_END, "spread": 30}

    def _rare_crons(self) -> Iterator[str]:
        """Once today, and then not for thousands of years."""
        today = datetime.now(UTC)
        hour, day = today.hour or 1, f"{today.day} {today.month}"
        for minute in range(today.minute + 1, min(today.minute + 4, 60)):
            yield f"7 {minute} */{hour} {day} * 2026,9990"

    def _start_time(self) -> str:
        return format_time(round((time.time() + 5) * 1000))

    def clean_up(self) -> None:
        """Delete all tasks of the tenant, also those whose creation got no answer."""
        while tasks := self._stored_tasks():
            for task in tasks:
                path = f"/tasks/id/{task['id']}"
                self.call(self.new_mark(), "delete", "DELETE", path)

    def _stored_tasks(self) -> list[dict[str, Any]]:
        _, answer = self.call(self.new_mark(), "list", "GET", "/tasks/")
        assert answer is not None, "the tasks of the hostile tenant cannot be listed"
        tasks: list[dict[str, Any]] = answer["tasks"]
        return tasks
