"""Say requests to the service, again where that is safe, and read its answers."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests
from requests.auth import AuthBase
from urllib3.exceptions import NewConnectionError

from scheduler_client import documents
from scheduler_client.errors import NotFound, Unreachable, error_of

# The service has done nothing, and says so.
_NOT_NOW = {429, 503}
# Somebody on the way gave up waiting for the service, which may have done it.
_LOST = {502, 504}
# No answer, or one that broke off. What is wrong with the request itself is a ValueError.
_NO_ANSWER = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
FIRST_WAIT = 0.25
LONGEST_WAIT = 30.0


class Bearer(AuthBase):
    """The token, in the place of whatever a .netrc says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


class Connection:
    """One service and one token. `timeout` bounds each request, in seconds."""

    def __init__(self, url: str, token: str, *, timeout: float, retries: int) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._session = requests.Session()
        self._session.auth = Bearer(token)

    def close(self) -> None:
        self._session.close()

    def say(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool,
    ) -> Answer:
        """Send a request, and again when no answer came and it is `repeatable`.

        What is answered with 429 or 503 was not done, and is always sent again, not
        before its Retry-After. Raises Unreachable, or the ApiError of the answer.
        """
        data = None
        if body is not None:
            data = documents.write_json(body).encode()
        attempt = 0
        while True:
            attempt += 1
            is_last = attempt > self._retries
            try:
                response = self._session.request(
                    method,
                    self._url + path,
                    params=query,
                    data=data,
                    headers={"Content-Type": "application/json", **(headers or {})},
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except _NO_ANSWER as error:
                if is_last or not (repeatable or _was_not_sent(error)):
                    raise Unreachable(
                        f"No answer to {method} {self._url}{path}: {_why(error)}"
                    ) from error
                time.sleep(_wait(attempt, None))
                continue
            asked = _retry_after(response)
            if not is_last and asked <= LONGEST_WAIT and _again(response, repeatable):
                time.sleep(_wait(attempt, asked))
                continue
            return _read(response, is_repeated=attempt > 1)


class Connected:
    """Who speaks over a connection, and closes it at the end of a `with`."""

    _connection: Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()


def _why(error: requests.RequestException) -> str:
    """The innermost reason, without the objects that it passed through."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__


def _was_not_sent(error: requests.RequestException) -> bool:
    """Whether there was no connection to send it on."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(cause, NewConnectionError)


def _again(response: requests.Response, repeatable: bool) -> bool:
    if response.status_code in _NOT_NOW:
        return True
    if response.status_code in _LOST:
        return repeatable
    # An earlier attempt with the same key is still being worked on.
    return response.status_code == 409 and "Idempotency-Key" in response.text


def _read(response: requests.Response, *, is_repeated: bool) -> Answer:
    body = None
    if response.content:
        try:
            body = response.json()
        except ValueError:
            body = None
    if response.status_code < 400:
        return Answer(response.status_code, response.headers, body)
    error = error_of(response.status_code, body, response.text)
    is_delete = response.request.method == "DELETE"
    if is_repeated and is_delete and isinstance(error, NotFound):
        # The attempt before has removed it, and its answer was lost.
        return Answer(200, response.headers, {})
    raise error


def _retry_after(response: requests.Response) -> float:
    """How many seconds the service asks for; 0 where it says nothing that can be read."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _wait(attempt: int, asked: float | None) -> float:
    """At least what was asked for; otherwise further and further apart, at random."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
    return max(asked or 0.0, random.uniform(longest / 2, longest))  # noqa: S311 (no secret)
