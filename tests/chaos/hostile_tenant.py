"""A tenant that means no good, and messages that nobody of ours sent."""

from __future__ import annotations

import base64
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.chaos.clients import Client, written
from tests.chaos.evidence import POISON

QUEUE = "deliver"
NO_END = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
FAR = "9999-12-31T23:59:59Z"
# Seconds between two poisonous requests.
EVERY = 1.5


def message(
    body: Any, *, task: Any = "tasks_api.tasks.deliver", without: str = "", **more: Any
) -> str:
    """As kombu stores it in Redis."""
    content = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": str(uuid.uuid4())} | more,
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
            "priority": 0,
        },
    }
    content.pop(without, None)
    return json.dumps(content)


def fire_message(task_id: str) -> str:
    """An order to fire a task now, whoever's it is."""
    return message([[task_id], {}, NO_END], task="tasks_api.tasks.fire")


MESSAGES: tuple[str | bytes, ...] = (
    "garbage",
    "{}",
    "[]",
    "null",
    b"\xff\xfe",
    message({}),
    message([]),
    message([[5], {}, NO_END]),
    message([[["x", 5, None]], {}, NO_END]),
    message([[[str(uuid.UUID(int=7))]], {}, NO_END]),
    message([[[]], {"more": 1}, NO_END]),
    message([[[]], {}, NO_END], without="headers"),
    message([[[]], {}, NO_END], without="properties"),
    message([[[]], {}, NO_END], task="no.such.task"),
    message([[[]], {}, NO_END], task=7),
    message([[[]], {}, NO_END], eta="tomorrow"),
)


class Poisoner(Client):
    """Stores what has hurt before: far ends, far years, URLs that are read in two ways."""

    kind = POISON

    def begin(self) -> None:
        self._bodies = itertools.cycle(self._all())
        self.later(0.0, self.create)

    def create(self) -> None:
        self.later(EVERY, self.create)
        path, body = next(self._bodies)
        self.say(self.new_mark(), "create", "POST", path, body)

    def _all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        url = self.target("ok", "x").replace("/ok/", f"/{POISON}/")
        periodic = {"task_type": "periodic", "url": url, "start_datetime": self._soon()}
        today = datetime.now(UTC)
        for overlap in ("skip", "queue_one", "allow"):
            rules = periodic | {"overlap": overlap, "end_datetime": FAR}
            yield "/tasks/", rules | {"cron": "*/4 * * * * *"}
            yield "/tasks/", rules | {"frequency": 4}
        yield "/tasks/", periodic | {"frequency": 4, "end_datetime": FAR, "spread": 30}
        # Once today, and then not for thousands of years, in a zone whose clocks change.
        for minute in range(today.minute + 1, min(today.minute + 4, 60)):
            cron = (
                f"7 {minute} */{today.hour or 1} {today.day} {today.month} * 2026,9990"
            )
            yield "/tasks/", periodic | {"cron": cron, "timezone": "Europe/Berlin"}
        for cron in ("0 * 0 29 2 * 9996", "* */59 2-5/10 19 * */7 9996-9999"):
            far = periodic | {"cron": cron, "timezone": "Europe/Berlin"}
            yield "/tasks/", far
            yield "/tasks/preview", far | {"n": 1}
        once = {"task_type": "one_time", "run_datetime": self._soon()}
        for host in ("us\uff03er:pw@127.0.0.1:9", "[::1]@127.0.0.1:9", "127.0.0.1:9"):
            yield "/tasks/", once | {"url": f"http://{host}/{POISON}/x.0"}

    def _soon(self) -> str:
        return written(round((time.time() + 5) * 1000))

    def clean_up(self) -> None:
        """Remove all that there is, whoever heard of it."""
        while tasks := self._stored():
            for task in tasks:
                path = f"/tasks/id/{task['id']}"
                self.say(self.new_mark(), "delete", "DELETE", path)

    def _stored(self) -> list[dict[str, Any]]:
        _, said = self.say(self.new_mark(), "list", "GET", "/tasks/")
        assert said is not None, "the tasks of the poisoner cannot be listed"
        found: list[dict[str, Any]] = said["tasks"]
        return found
