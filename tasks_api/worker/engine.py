"""The engine of a worker process: claim → build → send → judge → record, in batches.

Three threads, each waiting on one thing. The *claimer* sleeps until runs are due and
claims them in batches; the *transport* has thousands of requests in flight; the
*recorder* writes verdicts in batches and renews the leases of what is still held. They
meet in the *workload*, which one lock guards.
The engine saves nothing: if it dies, a beat wakes its runs when their leases are over, or
earlier, when nobody holds the engine's presence lock any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from django.conf import settings

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.domain.ids import tenant_bits
from tasks_api.monitoring.heartbeats import Presence
from tasks_api.monitoring.watchdog import WorkerVitals
from tasks_api.worker.claimer import Claimer
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.recorder import Recorder
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
            on_recorded=on_recorded,
            on_beat=on_beat,
        )
        self._claimer = Claimer(
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
            tenant_of=lambda run: tenant_bits(run.run_id),
            tenant_limit=self._workload.capacity.tenant_limit,
            max_in_flight=self._workload.capacity.maximum,
            max_per_host=settings.SCHEDULER_MAX_PER_HOST,
            lookup_timeout=settings.SCHEDULER_LOOKUP_TIMEOUT,
        )
        return Transport(self._on_result, options)

    def start(self) -> None:
        self._transport.start()
        self._claimer.thread.start()
        self._recorder.thread.start()

    def stop_accepting(self) -> None:
        """Take no more runs, and release the threads that wait in `accept`."""
        self._workload.stop()
        self._contact.announced.set()

    def stop(self, *, grace: float) -> None:
        """Take no more runs, let those in flight finish, and give the others back.

        It returns within `grace` seconds and a few more, whatever is stuck. What is not
        recorded by then comes back when its lease is over.
        """
        self.stop_accepting()
        until = time.monotonic() + grace
        self._claimer.thread.join(grace)
        self._transport.close(grace=max(0.0, until - time.monotonic()))
        self._recorder.thread.join(max(0.0, until - time.monotonic()) + RECORD_GRACE)
        if self._recorder.thread.is_alive() or self._claimer.thread.is_alive():
            logger.error(
                "Stopped with %d runs that are not written down; they are sent again.",
                self._workload.held_count,
            )

    def accept(self, run_ids: Iterable[UUID]) -> None:
        """Deliver runs when they are due. Blocks while there are too many.

        So a full engine leaves messages to the broker, and thus to other workers.
        """
        self._workload.accept(run_ids)

    def pop_unclaimed(self) -> list[UUID]:
        """Forget the runs that were accepted and are not claimed, and return them."""
        return self._workload.pop_unclaimed()

    @property
    def presence(self) -> int:
        """The key by which its leases are known."""
        return self._presence.key

    @property
    def is_cut_off(self) -> bool:
        """Whether the database does not answer, so that other workers should take over."""
        return self._contact.is_cut_off

    def vitals(self) -> WorkerVitals:
        return self._workload.vitals(
            claimed_at=self._claimer.active_at, recorded_at=self._recorder.active_at
        )

    def _on_result(self, run: ClaimedRun, result: HttpResult) -> None:
        self._recorder.add(run, result)
        self._workload.note_result(run, result)
