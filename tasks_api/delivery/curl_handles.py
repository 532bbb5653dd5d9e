"""libcurl's easy handles, each of which serves one request after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pycurl

from tasks_api.delivery.request import Request
from tasks_api.delivery.transfers import Transfer
from tasks_api.domain import guard
from tasks_api.domain.request_options import METHODS_WITHOUT_BODY

HandleKind = tuple[str, bool]

# Used handles of one kind that are kept for the next requests.
MAX_SPARE_HANDLES = 200

# libcurl's other defaults are the right ones: no redirects, no cookies, no .netrc,
# certificate and host name verified, a body that is never unpacked.
_OPTIONS = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    # Otherwise http_proxy and its kind in the environment decide where requests go.
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    # pycurl would name itself in requests without a User-Agent.
    (pycurl.USERAGENT, ""),
    (pycurl.MAXAGE_CONN, 60),
    # A busy connection is never idle, and would stay with an address its name has left.
    (pycurl.MAXLIFETIME_CONN, 60),
)
# A name without a value keeps libcurl from sending a header of its own.
_HEADERS = ["Accept-Encoding: identity", "Content-Type:", "Expect:"]


class CurlHandles:
    """libcurl's easy handles, ready to be given to the multi handle.

    Connections belong to the multi handle. A handle serves requests of one kind again and
    again: setting what differs between two costs less than a new handle. A handle that
    knew credentials, or repeated a request, is not kept.
    """

    def __init__(self, ca_file: str, on_open: Callable[[int, int], int]) -> None:
        self._template = pycurl.Curl()
        for option, value in _OPTIONS:
            self._template.setopt(option, value)
        self._template.setopt(pycurl.CAINFO, ca_file)
        self._template.setopt(pycurl.SOCKOPTFUNCTION, on_open)
        self._spare: dict[HandleKind, list[Any]] = {}

    def acquire(self, transfer: Transfer) -> Any:
        request, url = transfer.request, transfer.url
        spare = self._spare.get(_kind_of(request))
        if spare and url.credentials is None:
            curl = spare.pop()
        else:
            curl = self._make(request.method, url)
        curl.setopt(pycurl.URL, url.origin)
        # libcurl would write escapes anew and leave out a question mark without a query.
        curl.setopt(pycurl.REQUEST_TARGET, url.path)
        if not url.is_address:
            curl.setopt(
                pycurl.RESOLVE, [_pin_addresses(url.target, transfer.addresses)]
            )
        curl.setopt(pycurl.HTTPHEADER, _header_lines(request.headers))
        if request.method not in METHODS_WITHOUT_BODY:
            curl.setopt(pycurl.POSTFIELDS, request.body)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, transfer.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, transfer.on_sending)
        curl.setopt(pycurl.WRITEFUNCTION, transfer.on_body)
        if request.heeds_retry_headers:
            curl.setopt(pycurl.HEADERFUNCTION, transfer.on_header)
        if transfer.is_repeated:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
        # Zero would mean for ever.
        left_ms = int((transfer.deadline - time.monotonic()) * 1000)
        transfer.timeout_ms = max(1, left_ms)
        curl.setopt(pycurl.TIMEOUT_MS, transfer.timeout_ms)
        return curl

    def release(self, curl: Any, transfer: Transfer) -> None:
        spare = self._spare.setdefault(_kind_of(transfer.request), [])
        is_like_others = transfer.url.credentials is None and not transfer.is_repeated
        if is_like_others and len(spare) < MAX_SPARE_HANDLES:
            spare.append(curl)
        else:
            curl.close()

    def close(self) -> None:
        for spare in self._spare.values():
            for curl in spare:
                curl.close()
        self._spare.clear()

    def _make(self, method: str, url: guard.WireUrl) -> Any:
        curl = self._template.duphandle()
        if url.credentials is not None:
            curl.setopt(pycurl.USERNAME, url.credentials[0])
            curl.setopt(pycurl.PASSWORD, url.credentials[1])
        if method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif method not in {"GET", "POST"}:
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        return curl


def _kind_of(request: Request) -> HandleKind:
    """What stays set on a handle: the method, and whether it reads headers."""
    return request.method, request.heeds_retry_headers


def _pin_addresses(target: guard.Target, addresses: tuple[str, ...]) -> str:
    """An entry for libcurl's own table of names, so that it asks no name server."""
    listed = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
    # The plus lets the entry expire, or every name ever called would stay in memory.
    return f"+{target.host}:{target.port}:{listed}"


def _header_lines(headers: tuple[tuple[str, str], ...]) -> list[str]:
    # Without a value, a colon would mean "leave this header out".
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    whole = "".join(lines)
    if "\n" in whole or "\r" in whole:
        raise ValueError("A header contains a line break.")
    return lines + _HEADERS
