"""The thread that claims due runs, in batches, and hands their requests to the transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import connection

from tasks_api.delivery import faults, mail
from tasks_api.delivery.request import ClaimedRun, Credentials, HttpResult, Request
from tasks_api.metrics import counters
from tasks_api.worker import (
    channel_messages,
    leases,
    queue_delivery,
    request_builder,
    threads,
    verdicts,
)
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.mailer import Mailer
from tasks_api.worker.verdicts import Listener
from tasks_api.worker.workload import Workload


class Claimer:
    """`send` takes a request; `report` takes the result of a run that has none."""

    def __init__(
        self,
        workload: Workload,
        contact: DatabaseContact,
        *,
        presence_key: int,
        send: Callable[[ClaimedRun, Request], None],
        report: Callable[[ClaimedRun, HttpResult], None],
        on_recorded: Listener,
    ) -> None:
        self._workload = workload
        self._contact = contact
        self._presence_key = presence_key
        self._send = send
        self._report = report
        self._on_recorded = on_recorded
        self._mailer = Mailer(may_start=workload.may_start, report=report)
        self._credentials = request_builder.CredentialsCache()
        # Claimed, and not handed to the transport or a queue yet.
        self._unbegun: set[UUID] = set()
        # When it was last seen at work, by the monotonic clock.
        self.active_at = time.monotonic()
        self.thread = threads.make_thread(self._run, "claimer")

    def _run(self) -> None:
        # Do not claim before our presence lock is announced: otherwise no beat would
        # notice our death.
        self._contact.announced.wait()
        while not self._workload.is_stopping:
            try:
                if run_ids := self._workload.wait_for_due():
                    self._claim(run_ids)
                    self._contact.note_answer()
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                # No worker holds these runs now. A beat rings for them again.
                if isinstance(error, MemoryError):
                    self._workload.hold_back()
                threads.recover("claim", error)
            self._workload.end_claim()
            self.active_at = time.monotonic()
        connection.close()

    def _claim(self, run_ids: Sequence[UUID]) -> None:
        # Read before the statement, so that we think a lease over before others do.
        claimed_at = time.monotonic()
        lease = leases.new_lease(self._presence_key)
        max_bytes = self._workload.bytes_left
        try:
            claimed = leases.claim(run_ids, lease=lease, max_bytes=max_bytes)
        except Exception as error:
            if not faults.is_outage(error):
                leases.undo_claim(run_ids, lease)
            raise
        added = self._workload.hold(claimed, claimed_at)
        self._unbegun.update(run.run_id for run in claimed)
        unclaimed = set(run_ids) - {run.run_id for run in claimed}
        if added >= max_bytes:
            self._workload.put_back(unclaimed)
        else:
            counters.count_unclaimed(len(unclaimed))
        self._begin_all(claimed)

    def _begin_all(self, claimed: Sequence[ClaimedRun]) -> None:
        try:
            self._deliver_to_queues([run for run in claimed if run.queue])
            self._send_requests([run for run in claimed if not run.queue])
        finally:
            # Whatever happened, no run stays held that is in no hands.
            for run in claimed:
                if run.run_id in self._unbegun:
                    self._end(run, HttpResult(None, "", 0, was_sent=False))

    def _send_requests(self, runs: Sequence[ClaimedRun]) -> None:
        now = self._contact.datetime()
        credentials = self._credentials.get_many({run.tenant_id for run in runs}, now)
        counters.count_unsigned(
            sum(_is_unsigned(credentials[run.tenant_id]) for run in runs)
        )
        build = channel_messages.with_channels(
            request_builder.make_builder(now), runs, now=now
        )
        for run in runs:
            built = request_builder.try_build(build, run, credentials[run.tenant_id])
            if isinstance(built, HttpResult):
                self._end(run, built)
                continue
            if isinstance(built, mail.Mail):
                self._mailer.send(run, built)
            else:
                self._send(run, built)
            self._unbegun.discard(run.run_id)

    def _end(self, run: ClaimedRun, result: HttpResult) -> None:
        """Have the result recorded of a run that the transport never gets."""
        self._unbegun.discard(run.run_id)
        self._report(run, result)

    def _deliver_to_queues(self, runs: Sequence[ClaimedRun]) -> None:
        """Deliver runs into pull queues. If one cannot be put there, it alone fails."""
        if not runs:
            return
        try:
            results = queue_delivery.enqueue(runs, self._contact.datetime())
        except Exception as error:
            if faults.is_outage(error) or isinstance(error, MemoryError):
                raise
            if half := len(runs) // 2:
                self._deliver_to_queues(runs[:half])
                self._deliver_to_queues(runs[half:])
                return
            problem = f"could not be put into its queue ({type(error).__name__})"
            self._end(runs[0], HttpResult(None, problem, 0))
            return
        self._workload.remove_delivered(runs)
        self._unbegun.difference_update(run.run_id for run in runs)
        verdicts.notify_listener(self._on_recorded, results)


def _is_unsigned(credentials: Credentials | None) -> bool:
    return credentials is not None and not credentials.signing_secrets
