"""Tasks by the names that their owner gave them."""

from __future__ import annotations

from typing import Any

from scheduler_client import wire
from scheduler_client.connection import Connection
from scheduler_client.models import Task
from scheduler_client.wire import Fields


class ByName:
    """What `Client.by_name` does; a task's name may hold any character."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Task:
        return wire.task(self._connection.say("GET", _named(name), repeatable=True))

    def put(
        self,
        name: str,
        task: Fields | None = None,
        /,
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        **fields: Any,
    ) -> Task:
        """Create the task of a name, or make the one that is there just this."""
        headers = wire.if_match(if_match)
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        return wire.task(
            self._connection.say(
                "PUT",
                _named(name),
                body=wire.written({**(task or {}), **fields}),
                headers=headers,
                repeatable=not headers,
            )
        )

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._connection.say(
            "DELETE", _named(name), headers=wire.if_match(if_match), repeatable=True
        )


def _named(name: str) -> str:
    # One slash at the end is the path's, so that those before it are the name's.
    return f"/tasks/by-name/{wire.part(name)}/"
