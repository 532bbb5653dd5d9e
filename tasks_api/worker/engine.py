"""The engine of a worker process: take → build → send → judge → record, in batches.

Three threads, each waiting on one thing. The *taker* sleeps until tasks are due and
takes them in batches; the *transport* has thousands of requests in flight; the
*recorder* writes verdicts in batches and renews the leases of what is still held. They
meet in the *workload*, which one lock guards.
The engine saves nothing: if it dies, a beat rescues its runs when their leases are over, or
earlier, when nobody holds the engine's presence lock any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from django.conf import settings

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.monitoring.heartbeats import Presence
from tasks_api.monitoring.watchdog import WorkerVitals
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.recorder import Recorder
from tasks_api.worker.taker import Taker
from tasks_api.worker.verdicts import Listener
from tasks_api.worker.workload import Workload

logger = logging.getLogger(__name__)

# Seconds beyond the time to stop in which the last results are recorded.
RECORD_GRACE = 3.0


class Engine:
    """Delivers runs until it is stopped. `on_recorded` is told of recorded results."""

    def __init__(
        self, *, on_recorded: Listener, on_beat: Callable[[int], None]
    ) -> None:
        self._contact = DatabaseContact()
        self._workload = Workload(self._contact)
        self._presence = Presence()
        self._transport = self._make_transport()
        self._recorder = Recorder(
            self._workload,
            self._contact,
            self._presence,
            is_transport_alive=lambda: self._transport.is_alive,
            cancel=self._cancel,
            on_recorded=on_recorded,
            on_beat=on_beat,
        )
        self._taker = Taker(
            self._workload,
            self._contact,
            presence_key=self._presence.key,
            send=self._transport.send,
            report=self._on_result,
            on_recorded=on_recorded,
        )

    def _make_transport(self) -> Transport[ClaimedRun]:
        options = TransportOptions[ClaimedRun](
            allow_private=settings.SCHEDULER_ALLOW_PRIVATE_TARGETS,
            denied=settings.SCHEDULER_DENIED_NETWORKS,
            may_start=self._workload.may_start,
            tenant_of=lambda run: run.tenant_id,
            tenant_limit=self._workload.capacity.tenant_limit,
            max_in_flight=self._workload.capacity.maximum,
            max_per_host=settings.SCHEDULER_MAX_PER_HOST,
            lookup_timeout=settings.SCHEDULER_LOOKUP_TIMEOUT,
        )
        return Transport(self._on_result, options)

    def start(self) -> None:
        self._transport.start()
        self._taker.thread.start()
        self._recorder.thread.start()

    def stop_taking(self) -> None:
        """Take no more runs."""
        self._workload.stop()
        self._contact.announced.set()

    def stop(self, *, grace: float) -> None:
        """Take no more runs, and let those in flight finish.

        It returns within `grace` seconds and a few more, whatever is stuck. What is not
        recorded by then comes back when its lease is over.
        """
        self.stop_taking()
        until = time.monotonic() + grace
        self._taker.thread.join(grace)
        self._transport.close(grace=max(0.0, until - time.monotonic()))
        self._recorder.thread.join(max(0.0, until - time.monotonic()) + RECORD_GRACE)
        if self._recorder.thread.is_alive() or self._taker.thread.is_alive():
            logger.error(
                "Stopped with %d runs that are not written down; they are sent again.",
                self._workload.held_count,
            )

    def ring(self) -> None:
        """Look for what is due now, and not only at the next moment that is known."""
        self._workload.ring()

    @property
    def presence(self) -> int:
        """The key by which its leases are known."""
        return self._presence.key

    @property
    def is_cut_off(self) -> bool:
        """Whether the database does not answer, so that it cannot take anything."""
        return self._contact.is_cut_off

    def vitals(self) -> WorkerVitals:
        return self._workload.vitals(
            looked_at=self._taker.active_at,
            sent_at=self._transport.active_at,
            recorded_at=self._recorder.active_at,
        )

    def _cancel(self, cancelled: Mapping[UUID, str]) -> None:
        """Give up the requests of runs that users cancelled."""

        def reason_of(run: ClaimedRun) -> str | None:
            user = cancelled.get(run.run_id)
            return None if user is None else f"Cancelled by {user}."

        self._transport.cancel(reason_of)

    def _on_result(self, run: ClaimedRun, result: HttpResult) -> None:
        self._recorder.add(run, result)
        self._workload.note_result(run, result)
