"""Long work: say of a run that it is done, has failed or goes on; also as its target."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from scheduler_client import wire
from scheduler_client.connection import Connected, Connection
from scheduler_client.models import moment


class Work(Connected):
    """A run that a target is at work on, spoken of with the run's own token.

    `url` is the address of the run, and `token` what came with its request. Close it, or
    use it in a `with`. To say something twice is to say it once, so everything is sent
    again when no answer comes. Methods raise Conflict once the run is over otherwise or
    its deadline has passed, and Forbidden for the token of another run.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float = 30.0, retries: int = 4
    ) -> None:
        self._connection = Connection(url, token, timeout=timeout, retries=retries)

    @classmethod
    def of(
        cls,
        headers: Mapping[str, str],
        *,
        base_url: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
    ) -> Self:
        """The run that a request is for; verify the request first.

        `base_url` is where the service is, and needed where the service does not say so
        itself. Raises ValueError for a request of a task without long work.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        token = lower.get("x-scheduler-run-token")
        if not token:
            raise ValueError("There is no X-Scheduler-Run-Token in the request")
        url = lower.get("x-scheduler-run-url")
        if base_url:
            run_id = wire.part(lower.get("webhook-id", ""))
            url = f"{base_url.rstrip('/')}/runs/{run_id}"
        if not url:
            raise ValueError("There is no X-Scheduler-Run-Url: give a base_url")
        return cls(url, token, timeout=timeout, retries=retries)

    def complete(self, answer: Any = None) -> str:
        """End the run as succeeded; its state. See `Client.complete`."""
        return complete(self._connection, "", answer)

    def fail(self, reason: str = "", *, retry: bool = True) -> str:
        """End the attempt as failed; the state of its run. See `Client.fail`."""
        return fail(self._connection, "", reason, retry, repeatable=True)

    def heartbeat(self) -> datetime | None:
        """Put the deadline off; until when. See `Client.heartbeat`."""
        return heartbeat(self._connection, "")


def complete(connection: Connection, run: str, answer: Any) -> str:
    body = None if answer is None else wire.written(answer)
    said = connection.say("POST", f"{run}/complete/", body=body, repeatable=True)
    return str(said.body["state"])


def fail(
    connection: Connection, run: str, reason: str, retry: bool, *, repeatable: bool
) -> str:
    body = {"reason": reason, "retry": retry}
    said = connection.say("POST", f"{run}/fail/", body=body, repeatable=repeatable)
    return str(said.body["state"])


def heartbeat(connection: Connection, run: str) -> datetime | None:
    said = connection.say("POST", f"{run}/heartbeat/", repeatable=True)
    return moment(said.body["deadline"])
