"""Long work: its target reports that a run has succeeded, has failed or goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from scheduler_client.connection import Connection, ConnectionOwner
from scheduler_client.decoding import decode_timestamp
from scheduler_client.encoding import quote_segment


class LongWork(ConnectionOwner):
    """A run of long work, for its target, which reports with the run's own token.

    `url` is the address of the run, and `token` came with its request. Close it, or use
    it in a `with`. All reports are idempotent, so they are sent again after a network
    error. Methods raise Conflict if the run has ended otherwise or its deadline has
    passed, and Forbidden for the token of another run.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float = 30.0, retries: int = 4
    ) -> None:
        self._connection = Connection(url, token, timeout=timeout, retries=retries)

    @classmethod
    def from_headers(
        cls,
        headers: Mapping[str, str],
        *,
        base_url: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
    ) -> Self:
        """Return the run of a request. Verify the request first.

        `base_url` is the address of the service; it is needed if the service has no
        public URL. Raises ValueError if the request is not one of long work.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        token = lower.get("x-scheduler-run-token")
        if not token:
            raise ValueError("The request has no header X-Scheduler-Run-Token")
        url = lower.get("x-scheduler-run-url")
        if base_url:
            run_id = quote_segment(lower.get("webhook-id", ""))
            url = f"{base_url.rstrip('/')}/runs/{run_id}"
        if not url:
            raise ValueError(
                "The request has no header X-Scheduler-Run-Url: pass a base_url"
            )
        return cls(url, token, timeout=timeout, retries=retries)

    def complete(self, answer: Any = None) -> str:
        """End the run as succeeded. Returns its state. See `Client.complete_run`."""
        return complete(self._connection, "", answer)

    def fail(self, reason: str = "", *, retry: bool = True) -> str:
        """End the attempt as failed. Returns the run's state. See `Client.fail_run`."""
        return fail(self._connection, "", reason, retry, idempotent=True)

    def heartbeat(self) -> datetime | None:
        """Extend the deadline, and return the new one. See `Client.heartbeat_run`."""
        return heartbeat(self._connection, "")


def complete(connection: Connection, run_path: str, answer: Any) -> str:
    path = f"{run_path}/complete/"
    response = connection.request("POST", path, body=answer, idempotent=True)
    return str(response.body["state"])


def fail(
    connection: Connection, run_path: str, reason: str, retry: bool, *, idempotent: bool
) -> str:
    path, body = f"{run_path}/fail/", {"reason": reason, "retry": retry}
    response = connection.post(path, body, idempotent=idempotent)
    return str(response.body["state"])


def heartbeat(connection: Connection, run_path: str) -> datetime | None:
    response = connection.post(f"{run_path}/heartbeat/", idempotent=True)
    return decode_timestamp(response.body["deadline"])
