"""Send requests to the service, again where that is safe, and read its responses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import requests
from requests.auth import AuthBase

from scheduler_client import documents, retries
from scheduler_client.encoding import Fields, encode_value, omit_none
from scheduler_client.errors import NotFound, Unreachable, error_from_response

# No response, or an incomplete one. An invalid request raises a ValueError instead.
_NETWORK_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
# The longest page of a list that the service returns.
MAX_PAGE_SIZE = 1000


class BearerAuth(AuthBase):
    """Sends the token, and never what a .netrc holds for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def etag(self) -> str:
        return self.headers.get("ETag", "")


class Connection:
    """Requests to one service with one token. `timeout` bounds each one, in seconds."""

    def __init__(self, url: str, token: str, *, timeout: float, retries: int) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries
        self._session = requests.Session()
        self._session.auth = BearerAuth(token)

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, query: Fields | None = None) -> Response:
        return self.request("GET", path, query=query, idempotent=True)

    def get_pages(
        self, path: str, items: str, query: Fields, *, cursor: str | None = None
    ) -> Iterator[Any]:
        """Yield the items of a list, and fetch each page when it is needed."""
        while True:
            page = self.get(path, {**query, "cursor": cursor}).body
            yield from page[items]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def post(
        self, path: str, body: Fields | None = None, *, idempotent: bool
    ) -> Response:
        """Send a POST request. Fields that are None are left out."""
        fields = None if body is None else omit_none(body)
        return self.request("POST", path, body=fields, idempotent=idempotent)

    def create(self, path: str, body: Fields | None, key: str | None) -> Response:
        """Send a POST request with an Idempotency-Key, which makes it idempotent."""
        headers = {"Idempotency-Key": key or str(uuid4())}
        return self.request("POST", path, body=body, headers=headers, idempotent=True)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Fields | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool,
    ) -> Response:
        """Send a request, and again after a network error if it is `idempotent`.

        A request that got 429 or 503 was not done. It is always sent again, not before
        its Retry-After. Raises Unreachable, or the ApiError of the response.
        """
        data = None
        if body is not None:
            data = documents.write_json(encode_value(body)).encode()
        send = partial(
            self._session.request,
            method,
            self._url + path,
            params=encode_value(omit_none(query or {})),
            data=data,
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=self._timeout,
            allow_redirects=False,
        )
        try:
            return self._send_with_retries(send, idempotent)
        except _NETWORK_ERRORS as error:
            raise Unreachable(
                f"No answer to {method} {self._url}{path}: {_root_cause(error)}"
            ) from error

    def _send_with_retries(
        self, send: Callable[[], requests.Response], idempotent: bool
    ) -> Response:
        attempt = 0
        while True:
            attempt += 1
            is_last = attempt > self._retries
            delay = retries.backoff(attempt)
            try:
                response = send()
            except _NETWORK_ERRORS as error:
                if is_last or not (idempotent or retries.was_never_sent(error)):
                    raise
            else:
                if is_last or not retries.allows_retry(response, idempotent=idempotent):
                    return _read_response(response, is_retry=attempt > 1)
                delay = max(delay, retries.requested_delay(response))
            time.sleep(delay)


class ConnectionOwner:
    """Base of the classes that send requests. Closes the connection after a `with`."""

    _connection: Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()


def _root_cause(error: requests.RequestException) -> str:
    """Return the message of the innermost exception, without object addresses."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__


def _read_response(response: requests.Response, *, is_retry: bool) -> Response:
    body = None
    if response.content:
        try:
            body = response.json()
        except ValueError:
            body = None
    if response.status_code < 400:
        return Response(response.status_code, response.headers, body)
    error = error_from_response(response.status_code, body, response.text)
    is_delete = response.request.method == "DELETE"
    if is_retry and is_delete and isinstance(error, NotFound):
        # An earlier attempt has removed the object, and its response was lost.
        return Response(200, response.headers, {})
    raise error
