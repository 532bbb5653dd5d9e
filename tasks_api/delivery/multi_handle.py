"""The transfers that libcurl has in flight, and the sockets that it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pycurl

from tasks_api.delivery.curl_handles import CurlHandles
from tasks_api.delivery.sockets import SocketSelector
from tasks_api.delivery.transfers import Transfer

# Seconds by which libcurl's timer may be late before transfers get that time back, and the
# seconds that they get beside it.
MAX_LATENESS = 0.5
SECOND_CHANCE = 0.5


class TransferEnd(NamedTuple):
    """How libcurl ended a transfer. `status_code` is None when no answer arrived."""

    status_code: int | None
    error: str
    retry_after: int = 0
    # This machine lacked something, so nothing was sent.
    is_starved: bool = False
    # A kept connection was closed under it, so it may be sent again.
    is_lost: bool = False


class MultiHandle:
    """Belongs to one thread; the others may only call `wake`."""

    def __init__(self, *, max_connections: int, ca_file: str) -> None:
        self._sockets = SocketSelector()
        self._handles = CurlHandles(ca_file, self._sockets.on_open)
        self._active: dict[Any, Transfer] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.on_interest)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._has_kicked = False
        # When libcurl's timer runs out, by the monotonic clock.
        self._timer_at: float | None = None
        self.wake = self._sockets.wake

    def __len__(self) -> int:
        return len(self._active)

    def prepare(self, transfer: Transfer) -> Any:
        """A handle for a transfer. Raises whatever keeps the handle from being made."""
        return self._handles.acquire(transfer)

    def add(self, curl: Any, transfer: Transfer) -> None:
        """Begin a transfer with the handle that was prepared for it."""
        self._active[curl] = transfer
        self._multi.add_handle(curl)

    def wait(self, patience: Callable[[], float]) -> None:
        """Wait for sockets as long as `patience` says, and let libcurl use them."""
        ready = self._sockets.wait(patience)
        self._return_lost_time()
        for fd, mask in ready:
            self._multi.socket_action(fd, mask)

    def _return_lost_time(self) -> None:
        """Let answers be read that came in time, but while this process was stopped.

        libcurl asks for the time before it reads, so it would call them timed out.
        """
        late = 0.0 if self._timer_at is None else time.monotonic() - self._timer_at
        if late < MAX_LATENESS:
            return
        self._timer_at = None
        for curl, transfer in self._active.items():
            transfer.timeout_ms += int((late + SECOND_CHANCE) * 1000)
            curl.setopt(pycurl.TIMEOUT_MS, transfer.timeout_ms)

    def patience(self) -> float | None:
        """How long libcurl needs nothing but its sockets; None is without end."""
        # A transfer may fail at once, which no socket tells.
        if self._has_kicked:
            return 0.0
        timeout_ms = self._multi.timeout()
        return None if timeout_ms < 0 else timeout_ms / 1000

    def kick(self) -> None:
        """Let libcurl do what needs no socket: begin transfers, end late ones."""
        self._return_lost_time()
        self._has_kicked = self._multi.timeout() == 0
        if self._has_kicked:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        timeout_ms = self._multi.timeout() if self._active else -1
        self._timer_at = (
            None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000
        )

    def pop_ended(self) -> Iterator[tuple[Transfer, TransferEnd]]:
        more = True
        while more:
            more, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                yield self._complete(curl, pycurl.E_OK, "")
            for curl, code, message in failed:
                yield self._complete(curl, code, message)

    def abort(self, is_meant: Callable[[Transfer], bool]) -> Iterator[Transfer]:
        """End some transfers at once, and close their connections."""
        for curl, transfer in list(self._active.items()):
            if is_meant(transfer):
                del self._active[curl]
                self._multi.remove_handle(curl)
                curl.close()
                yield transfer

    def close(self) -> None:
        self._handles.close()
        self._multi.close()
        self._sockets.close()

    def _complete(
        self, curl: Any, code: int, message: str
    ) -> tuple[Transfer, TransferEnd]:
        transfer = self._active.pop(curl)
        end = _read_end(transfer, curl, code, message)
        self._multi.remove_handle(curl)
        self._handles.release(curl, transfer)
        return transfer, end


def _read_end(transfer: Transfer, curl: Any, code: int, message: str) -> TransferEnd:
    if transfer.is_lost(curl, code):
        return TransferEnd(None, "", is_lost=True)
    is_starved = transfer.is_local_trouble(curl, code)
    error = transfer.error(curl, code, message)
    status = None if error else curl.getinfo(pycurl.RESPONSE_CODE)
    # A target that has succeeded need not be asked again.
    retry_after = transfer.retry_after if status and status >= 300 else 0
    return TransferEnd(status, error, retry_after, is_starved)
