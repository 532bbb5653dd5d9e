"""The thread that takes what is due, in batches, and hands the requests to the transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection

from accounts.services import load_delivery_limits
from tasks_api.delivery import faults, mail
from tasks_api.delivery.request import ClaimedRun, Credentials, HttpResult, Request
from tasks_api.metrics import counters
from tasks_api.services import held_runs
from tasks_api.taking import (
    due_poll,
    following,
    isolation,
    lanes,
    leases,
    tenant_statements,
    waiting_runs,
)
from tasks_api.taking.due_poll import DueWork, NextWork, earlier
from tasks_api.taking.due_tasks import TakenTasks
from tasks_api.taking.room import Room
from tasks_api.taking.run_counts import RunCounts
from tasks_api.taking.start_windows import StartWindow
from tasks_api.taking.tenant_shares import TenantShare, TenantShares
from tasks_api.taking.waiting_runs import TakenRuns
from tasks_api.worker import (
    bounded_requests,
    channel_messages,
    queue_delivery,
    request_builder,
    threads,
    verdicts,
)
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.day_quotas import DayQuotas
from tasks_api.worker.mailer import Mailer
from tasks_api.worker.verdicts import Listener
from tasks_api.worker.workload import Workload

# Seconds for which tasks are taken at the moments that are known, without a poll.
POLL_INTERVAL = 1.0

TakenT = TypeVar("TakenT", TakenTasks, TakenRuns, covariant=True)


class Take(Protocol[TakenT]):
    def __call__(
        self, room: Room, lease: UUID, *, shares: list[TenantShare] | None
    ) -> TakenT: ...


class Taker:
    """`send` takes a request, and the time of the monotonic clock at which it may start.

    `report` takes the result of a run that has none.
    """

    def __init__(
        self,
        workload: Workload,
        contact: DatabaseContact,
        *,
        presence_key: int,
        send: Callable[[ClaimedRun, Request, float], None],
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
        self._poller = due_poll.make_poller()
        self._task_shares = TenantShares(tenant_statements.TENANTS_OF_TASKS)
        self._run_shares = TenantShares(tenant_statements.TENANTS_OF_RUNS)
        self._lanes = lanes.LanePoll()
        self._run_counts = RunCounts()
        self._day_quotas = DayQuotas()
        # When the next task fires, as far as is known.
        self._next_fire_at: datetime | None = None
        # When to poll in any case, by the monotonic clock.
        self._poll_at = 0.0
        # Taken, and not handed to the transport or a queue yet.
        self._unbegun: set[UUID] = set()
        # When it was last seen at work, by the monotonic clock.
        self.active_at = time.monotonic()
        self.thread = threads.make_thread(self._run, "taker")

    def _run(self) -> None:
        # Do not take before our presence lock is announced: otherwise no beat would
        # notice our death.
        self._contact.announced.wait()
        while not self._workload.is_stopping:
            try:
                if room := self._workload.wait_to_look():
                    if self._contact.is_cut_off:
                        # While nobody could take them, many held runs may have come due.
                        held_runs.spread_out_late()
                    self._look(room)
                    self._contact.note_answer()
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                if faults.is_shortage(error):
                    self._workload.hold_back()
                self._workload.ring()
                threads.recover("take", error)
            self.active_at = time.monotonic()
        self._write_last_counts()
        connection.close()

    def _look(self, room: Room) -> None:
        """Take what is due and has room, and know when to look again."""
        room = self._day_quotas.limit(room, self._workload.run_quotas)
        tasks, seen = self._take_tasks(room)
        self._run_counts.add(tasks.recurring, seen.now)
        runs = TakenRuns()
        if seen.has_waiting_runs:
            floor = self._poller.floor
            take_waiting = partial(
                waiting_runs.take_waiting, since=floor and floor.wake_at
            )
            left = room.after(tasks.runs)
            runs = self._take(take_waiting, self._run_shares, left) or runs
        else:
            self._run_shares.note_nothing_due()
        lanes_at = None
        if seen.has_runs_in_lanes or tasks.has_waiting or runs.has_moved:
            lanes_at = self._take_from_lanes(room.after(tasks.runs).after(runs.runs))
        self._look_again(seen, lanes_at)
        following.plan(tasks.unplanned)
        self._run_counts.write_if_due()

    def _take_tasks(self, room: Room) -> tuple[TakenTasks, DueWork | NextWork]:
        """Take due tasks; returns them, and what there is to do besides.

        At a moment that is known, tasks are taken without a poll that asks for them.
        """
        tasks = TakenTasks()
        if self._expects_tasks():
            tasks = self._take_due(isolation.take_and_look, room)
            if tasks.seen is not None:
                return tasks, tasks.seen
        seen = self._poller.poll()
        self._poll_at = time.monotonic() + POLL_INTERVAL
        if not seen.has_due_tasks:
            self._task_shares.note_nothing_due()
            return tasks, seen
        floor = self._poller.floor
        take = partial(isolation.take_due, since=floor and floor.fire_at)
        return tasks + self._take_due(take, room.after(tasks.runs)), seen

    def _expects_tasks(self) -> bool:
        return (
            self._next_fire_at is not None
            and self._next_fire_at <= self._contact.datetime()
            and not self._task_shares.is_crowded
            # Only a poll notices that there are many dead rows to step over.
            and self._poller.floor is None
            and time.monotonic() < self._poll_at
        )

    def _take_due(self, take: Take[TakenTasks], room: Room) -> TakenTasks:
        tasks = self._take(take, self._task_shares, room) or TakenTasks()
        if tasks.unfinished:
            self._task_shares.note_unfinished()
        return tasks

    def _take_from_lanes(self, room: Room) -> datetime | None:
        """Take runs that wait in lanes; returns when to look at lanes again."""
        look = self._lanes.look()
        self._workload.note_lanes(look.with_places)
        if look.gone:
            lanes.leave_lanes(look.gone)
        if not look.ready:
            return look.next_at
        taken = self._begin(lambda lease: lanes.take_waiting(look.ready, room, lease))
        self._learn(taken.unknown, self._run_shares)
        return earlier(look.next_at, taken.lanes_at)

    def _look_again(
        self, seen: DueWork | NextWork, lanes_at: datetime | None = None
    ) -> None:
        both = (self._task_shares, self._run_shares)
        # After a full batch more may be due, so look again at once, if there is room.
        is_full = any(shares.is_full for shares in both)
        next_at = seen.now if is_full else earlier(seen.next_at, lanes_at)
        self._next_fire_at = seen.now if is_full else seen.next_fire_at
        self._workload.look_again(
            None if next_at is None else next_at.timestamp(),
            is_out_of_room=any(shares.lacks_room for shares in both),
        )

    def _take(
        self, take: Take[TakenT], shares: TenantShares, room: Room
    ) -> TakenT | None:
        """Take under a new lease, and begin what was taken; None: no tenant has room."""
        chosen = shares.choose(room)
        if chosen == []:
            shares.note_batch(chosen, room, due=0, left=0)
            return None
        taken = self._begin(lambda lease: take(room, lease, shares=chosen))
        shares.note_batch(chosen, room, due=taken.due, left=taken.left)
        self._learn(taken.unknown, shares)
        return taken

    def _learn(self, unknown: Collection[int], shares: TenantShares) -> None:
        """Ask for the limits of tenants of which something was left, and look again."""
        if unknown:
            self._workload.learn(load_delivery_limits(unknown))
            shares.note_unfinished()

    def _begin(self, take: Callable[[UUID], TakenT]) -> TakenT:
        """Take under a new lease, and begin what was taken."""
        # Read before the statement, so that we think a lease over before others do.
        taken_at = time.monotonic()
        lease = leases.new_lease(self._presence_key)
        try:
            taken = take(lease)
        except Exception as error:
            if not faults.is_outage(error):
                leases.undo_take(lease)
            raise
        self._workload.hold(taken.runs, taken_at, taken.windows)
        self._day_quotas.add(taken.runs, self._workload.run_quotas)
        self._unbegun.update(run.run_id for run in taken.runs)
        self._begin_all(taken.runs, taken.windows)
        return taken

    def _begin_all(
        self, taken: Sequence[ClaimedRun], windows: Mapping[UUID, StartWindow]
    ) -> None:
        try:
            self._deliver_to_queues([run for run in taken if _fills_queue(run)])
            self._send_requests(
                [run for run in taken if not _fills_queue(run)], windows
            )
        finally:
            # Whatever happened, no run stays held that is in no hands.
            for run in taken:
                if run.run_id in self._unbegun:
                    self._end(run, HttpResult(None, "", 0, was_sent=False))

    def _send_requests(
        self, runs: Sequence[ClaimedRun], windows: Mapping[UUID, StartWindow]
    ) -> None:
        now = self._contact.datetime()
        credentials = self._credentials.get_many({run.tenant_id for run in runs}, now)
        counters.count_unsigned(
            sum(_is_unsigned(credentials[run.tenant_id]) for run in runs)
        )
        build = channel_messages.with_channels(
            request_builder.make_builder(now), runs, now=now
        )
        build = bounded_requests.with_bounds(build, runs)
        for run in runs:
            built = request_builder.try_build(build, run, credentials[run.tenant_id])
            if isinstance(built, HttpResult):
                self._end(run, built)
                continue
            if isinstance(built, mail.Mail):
                self._mailer.send(run, built)
            else:
                window = windows.get(run.run_id)
                self._send(run, built, window.opens_at if window else 0.0)
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
            if isolation.is_foreign_error(error):
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

    def _write_last_counts(self) -> None:
        # Nothing rests on the last ones, so a database that is away now is no trouble.
        with suppress(DatabaseError):
            self._run_counts.write()
            self._day_quotas.write()


def _is_unsigned(credentials: Credentials | None) -> bool:
    return credentials is not None and not credentials.signing_secrets


def _fills_queue(run: ClaimedRun) -> bool:
    # Bounds allow no queue, and `with_bounds` says so.
    return bool(run.queue) and run.bounds_id is None
