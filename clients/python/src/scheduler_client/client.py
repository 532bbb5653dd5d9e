"""The client of the tasks API."""

from __future__ import annotations

from scheduler_client.access_methods import AccessMethods
from scheduler_client.channel_methods import ChannelMethods
from scheduler_client.connection import Connection
from scheduler_client.lane_methods import LaneMethods
from scheduler_client.run_methods import RunMethods
from scheduler_client.task_methods import TaskMethods


class Client(TaskMethods, RunMethods, AccessMethods, ChannelMethods, LaneMethods):
    """A client with one token. Use one per thread, and close it, or use it in a `with`.

    Methods are named as the operations in the OpenAPI document of the service. `timeout`
    bounds each request, in seconds. `retries` is how often a request is sent again after
    a network error, or when the service responds with 429 or 503. Requests that create
    something carry an Idempotency-Key, so that a retry creates nothing twice. Every
    method raises ApiError for an error response and Unreachable for a network error.
    """

    def __init__(
        self, base_url: str, token: str, *, timeout: float = 30.0, retries: int = 4
    ) -> None:
        self._connection = Connection(base_url, token, timeout=timeout, retries=retries)
