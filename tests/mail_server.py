"""A mail server on loopback that keeps what it gets, or refuses it."""

from __future__ import annotations

import threading
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope


class _AnyPort(Controller):
    """A controller on a free port of the system's choice."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # of the package


class MailServer:
    """Answers as RFC 5321 wants. `refusal`, such as `451 Later`, is said to each mail."""

    def __init__(self) -> None:
        self.refusal = ""
        self.mails: list[tuple[list[str], Message]] = []
        self._arrived = threading.Condition()
        self._controller = _AnyPort(self, hostname="127.0.0.1", port=0)

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(
        self, server: object, session: object, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        with self._arrived:
            self.mails.append((envelope.rcpt_tos, message_from_bytes(content)))
            self._arrived.notify_all()
        return self.refusal or "250 Message accepted for delivery"

    def wait_for(self, count: int) -> list[tuple[list[str], Message]]:
        """The mails so far, once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.mails) >= count, timeout=20)
            return list(self.mails)
