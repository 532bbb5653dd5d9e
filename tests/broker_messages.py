"""Builds messages as kombu stores them in Redis, and many that no part of ours sends."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

QUEUE = "deliver"
DELIVER_TASK = "tasks_api.tasks.deliver"
FIRE_TASK = "tasks_api.tasks.fire"
NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def build_message(
    body: Any, *, encoding: str = "utf-8", without: str = "", **headers: Any
) -> str:
    """A message whose body is text, or else what JSON is made of."""
    text = body if isinstance(body, str) else json.dumps(body)
    message = {
        "body": base64.b64encode(text.encode("latin-1")).decode(),
        "content-encoding": encoding,
        "content-type": "application/json",
        "headers": {"task": DELIVER_TASK, "id": str(uuid.uuid4())} | headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
            "priority": 0,
        },
    }
    message.pop(without, None)
    return json.dumps(message)


def build_fire_message(task_id: str) -> str:
    """An order to fire a task now, of whatever tenant."""
    return build_message([[task_id], {}, NO_CALLBACKS], task=FIRE_TASK)


# Messages that a worker drops.
UNREADABLE_MESSAGES: tuple[str | bytes, ...] = (
    "",
    "{",
    "{}",
    "[]",
    "7",
    "null",
    b"\xff\xfe",
    build_message([[[]], {}, NO_CALLBACKS], without="headers"),
    build_message([[[]], {}, NO_CALLBACKS], without="properties"),
    build_message("garbage"),
    build_message("\xff\xfe"),
    build_message("{}"),
    build_message("[]"),
    build_message([[5], {}, NO_CALLBACKS]),
    build_message([[["x", 5, None]], {}, NO_CALLBACKS]),
    build_message([[[]], {"more": 1}, NO_CALLBACKS]),
    build_message([[[]], [], NO_CALLBACKS]),
    build_message([[[]], {}, [1]]),
    build_message([[[]], {}, NO_CALLBACKS | {"chain": [{"task": FIRE_TASK}]}]),
    build_message([[[]], {}, NO_CALLBACKS], encoding="no such thing"),
    build_message([[[]], {}, NO_CALLBACKS], task="no.such.task"),
    build_message([[[]], {}, NO_CALLBACKS], task="celery.starmap"),
    build_message([[[]], {}, NO_CALLBACKS], task=7),
    build_message([[[]], {}, NO_CALLBACKS], id=None),
    build_message([[[]], {}, NO_CALLBACKS], eta="tomorrow"),
    build_message([[[]], {}, NO_CALLBACKS], expires="tomorrow"),
    build_message([[[]], {}, NO_CALLBACKS], expires=[1]),
    build_message([[[]], {}, NO_CALLBACKS], retries="many"),
    build_message([[[]], {}, NO_CALLBACKS], timelimit=3),
    build_message([[[]], {}, NO_CALLBACKS], compression="application/x-gzip"),
)
