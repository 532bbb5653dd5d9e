"""The threads of a worker that send mail, which is slow and needs no event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Full, Queue

from tasks_api.delivery import mail
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.states import Trouble
from tasks_api.worker import threads

# Mails under way at once. A mail server that hangs holds each up for EMAIL_TIMEOUT.
MAX_THREADS = 4
# Mails that wait for a thread; others go back, to be sent later or by another worker.
MAX_WAITING = 200


class Mailer:
    """Sends mails and reports their results. It has no thread before its first mail."""

    def __init__(
        self,
        *,
        may_start: Callable[[ClaimedRun], bool],
        report: Callable[[ClaimedRun, HttpResult], None],
    ) -> None:
        self._may_start = may_start
        self._report = report
        self._waiting: Queue[tuple[ClaimedRun, mail.Mail]] = Queue(MAX_WAITING)
        self._threads: list[threading.Thread] = []

    def send(self, run: ClaimedRun, message: mail.Mail) -> None:
        try:
            self._waiting.put_nowait((run, message))
        except Full:
            trouble = Trouble.CROWDED
            busy = HttpResult(None, str(trouble), 0, was_sent=False, trouble=trouble)
            self._report(run, busy)
            return
        if len(self._threads) < MAX_THREADS:
            self._threads.append(threads.make_thread(self._run, "mailer"))
            self._threads[-1].start()

    def _run(self) -> None:
        while True:
            run, message = self._waiting.get()
            if self._may_start(run):
                self._report(run, mail.send(message))
            else:
                self._report(run, HttpResult(None, "", 0, was_sent=False))
