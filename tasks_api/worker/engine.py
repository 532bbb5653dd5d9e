"""One worker process's engine: claim → build → send → judge → record, for many at once.

Three threads, each waiting on one thing. The *claimer* sleeps until runs are due and
takes them in batches; the *transport* has thousands of requests under way; the
*recorder* writes verdicts in batches and prolongs the leases of what is still held.
Nothing here is worth saving: a run whose engine dies is woken when its lease is over,
or before, when a beat sees that nobody holds the engine's presence any more.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from accounts.services import load_tenant_limits
from scheduler_service.db import clock
from tasks_api.delivery import descriptors, faults, retry
from tasks_api.delivery.request import Claimed, Credentials, Outcome
from tasks_api.delivery.shares import room
from tasks_api.delivery.transport import Transport
from tasks_api.domain.ids import TENANT_BITS_RANGE, moment_of, tenant_bits
from tasks_api.domain.states import Trouble
from tasks_api.metrics import counters
from tasks_api.monitoring.heartbeats import Presence
from tasks_api.monitoring.watchdog import WorkerVitals
from tasks_api.services import pull_queue
from tasks_api.storage import run_rows
from tasks_api.worker import building, leases, verdicts
from tasks_api.worker.backlog import Waiting
from tasks_api.worker.holding import Holding
from tasks_api.worker.record import Finished, record

logger = logging.getLogger(__name__)

# Runs in one claim, as many as their bodies are cheap to hold.
CLAIM = 500
# Runs that a worker is told of before it lets messages wait in the broker.
MOST_WAITING = 20_000
# Nobody rings for a run so many seconds ahead; it would only take up a place.
FARTHEST = 3600.0
# Due moments lie apart; waiting this long lets one statement claim several.
GATHER = 0.01
# Answers that make room for others at once, and not when their verdicts are written.
REFILL = 250
# Verdicts wait at most this long for company.
BUFFER = 0.05
# A run's id knows its moment to the millisecond, rounded down.
ROUNDING = 0.001
# How long a statement's failure keeps its thread from trying the next.
PAUSE = 1.0
# The database answers a recorder four times a second; one that is silent for so long is
# away for us, and maybe not for others.
CUT_OFF = 2.0
# How long a run is held here before it is said on its row that its request waits.
UNSENT_AFTER = 0.5
# What is left of the time to stop, to write down how the last requests ended.
LAST_WORDS = 3.0
# How long fewer requests are made here after the machine lacked something.
RECOVERY = 60.0
# How long a consumer may be silent about a message that a task put into its queue.
MESSAGE_TIMEOUT = 30

Listener = Callable[[Sequence[Finished]], None]


class _Done(NamedTuple):
    run: Claimed
    outcome: Outcome
    ended_at: datetime


class Engine:
    """Delivers runs until it is stopped. `on_recorded` hears of what was written down."""

    def __init__(
        self, *, on_recorded: Listener, on_beat: Callable[[int], None]
    ) -> None:
        self._on_recorded = on_recorded
        self._on_beat = on_beat
        self._most = self._affordable = descriptors.afford(
            settings.SCHEDULER_MAX_IN_FLIGHT
        )
        # While this machine lacks something, less is begun, and nothing for a moment.
        self._resumes_at = self._recovers_at = 0.0
        self._waiting = Waiting()
        self._holding = Holding()
        self._tells_unsent_at = 0.0
        self._most_bytes: int = settings.SCHEDULER_MAX_BYTES_IN_FLIGHT
        # By lanes, as the ids of runs have them.
        self._under_way: Counter[int] = Counter()
        self._answered = 0
        self._own_limits: dict[int, int] = {}
        self._done: SimpleQueue[_Done] = SimpleQueue()
        self._changed = threading.Condition()
        self._stopping = False
        # From what ticks on whatever the machine's clock does to the database's clock.
        self._clock_offset = 0.0
        # When the database last answered, by the monotonic clock; at the start it has not.
        self._heard_at = -CUT_OFF
        self._claiming: list[UUID] = []
        # Claimed, and not yet in anybody's hands; the claimer's own.
        self._unbegun: set[UUID] = set()
        self._credentials = building.KnownCredentials()
        self._presence = Presence()
        self._is_announced = threading.Event()
        self._accepted_at = self._claimed_at = self._recorded_at = time.monotonic()
        self._transport = Transport(
            on_done=self._on_done,
            may_start=self._may_start,
            allow_private=settings.SCHEDULER_ALLOW_PRIVATE_TARGETS,
            denied=settings.SCHEDULER_DENIED_NETWORKS,
            max_in_flight=self._most,
            max_per_host=settings.SCHEDULER_MAX_PER_HOST,
            tenant_of=lambda run: tenant_bits(run.run_id),
            places_of=self._places,
            lookup_timeout=settings.SCHEDULER_LOOKUP_TIMEOUT,
        )
        self._claimer = _thread(self._claim_forever, "claimer")
        self._recorder = _thread(self._record_forever, "recorder")

    def start(self) -> None:
        self._transport.start()
        self._claimer.start()
        self._recorder.start()

    def close_door(self) -> None:
        """Take no more; whoever waits to be let in goes away."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._is_announced.set()

    def stop(self, *, grace: float) -> None:
        """Take no more, let what is under way finish, give the rest back.

        It is over within `grace` seconds and a few, whatever is stuck: what is then not
        written down comes back when its lease is over.
        """
        self.close_door()
        until = time.monotonic() + grace
        self._claimer.join(grace)
        self._transport.close(grace=max(0.0, until - time.monotonic()))
        self._recorder.join(max(0.0, until - time.monotonic()) + LAST_WORDS)
        if self._recorder.is_alive() or self._claimer.is_alive():
            logger.error(
                "Stopped with %d runs that are not written down; they are sent again.",
                len(self._holding),
            )

    def _leave_to_others(self) -> None:
        """Have what was accepted and not begun rung for again at once."""
        with self._changed:
            left = list(self._waiting)
        try:
            run_rows.schedule_ring(left, after=timedelta())
        except Exception as error:  # noqa: BLE001 (a beat rings for them anyway)
            logger.warning(
                "Other workers will hear of some runs later: %s", faults.brief(error)
            )

    def accept(self, run_ids: Iterable[UUID]) -> None:
        """Take charge of runs when their moments come; blocks while there are too many.

        So a full engine leaves messages to the broker, and thus to other workers.
        """
        with self._changed:
            while len(self._waiting) >= MOST_WAITING and not self._stopping:
                self._changed.wait()
            # Before the database has told, this machine may be wrong about the time.
            knows_time = self._is_announced.is_set()
            latest = self._now() + FARTHEST if knows_time else math.inf
            wanted = {run_id for run_id in run_ids if moment_of(run_id) < latest}
            self._waiting.add(i for i in wanted if i not in self._holding)
            self._accepted_at = time.monotonic()
            self._changed.notify_all()

    @property
    def presence(self) -> int:
        """By which its leases are known."""
        return self._presence.key

    @property
    def is_cut_off(self) -> bool:
        """Whether the database does not answer, so that others had better take messages."""
        return time.monotonic() - self._heard_at > CUT_OFF

    def take_back(self) -> list[UUID]:
        """What was accepted and is not claimed, for others: it is forgotten here."""
        with self._changed:
            taken = [*self._waiting, *self._claiming]
            self._waiting = Waiting()
            self._changed.notify_all()
        return taken

    def vitals(self) -> WorkerVitals:
        """For those who look from outside."""
        with self._changed:
            wait = self._seconds_to_wait()
            return WorkerVitals(
                held=len(self._holding),
                accepted=len(self._waiting),
                has_room=len(self._waiting) < MOST_WAITING,
                overdue=0.0 if wait is None else max(0.0, -wait),
                accepted_at=self._accepted_at,
                claimed_at=self._claimed_at,
                recorded_at=self._recorded_at,
                is_cut_off=self.is_cut_off,
            )

    # The claimer.

    def _claim_forever(self) -> None:
        # What is claimed by one who is not known to be here, nobody would miss.
        self._is_announced.wait()
        while not self._stopping:
            try:
                if run_ids := self._next_due():
                    self._claim(run_ids)
                    self._heard_at = time.monotonic()
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                # Nobody holds these runs now; a beat rings for them again.
                if isinstance(error, MemoryError):
                    with self._changed:
                        self._hold_back()
                _recover("claim", error)
            self._claiming = []
            self._claimed_at = time.monotonic()
        connection.close()

    def _next_due(self) -> list[UUID] | None:
        """Wait for runs that are due; None when the engine stops."""
        with self._changed:
            while not self._stopping:
                wait = self._seconds_to_wait()
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                elif due := self._pop_due():
                    return due
        return None

    def _seconds_to_wait(self) -> float | None:
        """Until the first run is due; None while there is nothing, or no room for it."""
        first = self._waiting.first_moment()
        if first is None or self._room_for_all() <= 0:
            return None
        wait = first + ROUNDING + GATHER - self._now()
        return max(wait, self._resumes_at - time.monotonic())

    def _pop_due(self) -> list[UUID]:
        most = min(CLAIM, self._room_for_all())
        room_of = partial(self._room, under_way=self._under_way.total())
        popped = self._waiting.pop(
            until=self._now() - ROUNDING, most=most, room=room_of
        )
        self._claiming = popped
        self._changed.notify_all()
        return popped

    def _room_for_all(self) -> int:
        """How many runs more may be begun here.

        What was answered makes room for others before it is written down. But while
        nothing can be written down, no more is begun than that twice.
        """
        most: int = self._affordable
        if self._holding.bytes >= self._most_bytes:
            return 0
        return most - max(self._under_way.total(), len(self._holding) - most)

    def _places(self, lane: int) -> int:
        """How many requests a tenant may have under way here."""
        most: int = self._own_limits.get(lane, settings.SCHEDULER_MAX_PER_TENANT)
        return most

    def _room(
        self, lane: int, mine: int = 0, begun: int = 0, *, under_way: int | None = None
    ) -> int:
        """How many more that may be, when of so many just begun some are its own."""
        mine += self._under_way[lane]
        if under_way is None:
            under_way = self._under_way.total()
        taken = begun + under_way
        return min(
            self._places(lane) - mine, room(mine=mine, taken=taken, most=self._most)
        )

    def _now(self) -> float:
        """The database's clock, as far as this process knows it."""
        return clock.ticks() + self._clock_offset

    def _datetime(self) -> datetime:
        return datetime.fromtimestamp(self._now(), tz=UTC)

    def _claim(self, run_ids: Sequence[UUID]) -> None:
        # Read before the statement, so that we think a lease over before others do.
        claimed_at = time.monotonic()
        lease = leases.new_lease(self._presence.key)
        try:
            room = max(1, self._most_bytes - self._holding.bytes)
            claimed = leases.claim(run_ids, lease=lease, most_bytes=room)
        except Exception as error:
            if not faults.is_outage(error):
                leases.give_back(run_ids, lease)
            raise
        left = set(run_ids) - {run.run_id for run in claimed}
        if self._hold(claimed, claimed_at) >= room:
            with self._changed:
                self._waiting.add(left)
        else:
            counters.count_unclaimed(len(left))
        try:
            self._begin(claimed)
        finally:
            # Whatever happened, nothing stays held that nobody has in hand.
            for run in claimed:
                if run.run_id in self._unbegun:
                    self._give_up(run, Outcome(None, "", 0, was_sent=False))

    def _hold(self, claimed: Sequence[Claimed], claimed_at: float) -> int:
        """Keep what was claimed; returns how many bytes it has."""
        until = claimed_at + settings.SCHEDULER_LEASE
        with self._changed:
            added = self._holding.add(claimed, claimed_at=claimed_at, until=until)
            self._under_way.update(tenant_bits(run.run_id) for run in claimed)
            # For those that others had begun, others may come.
            self._waiting.call_back(self._room)
        self._unbegun.update(run.run_id for run in claimed)
        return added

    def _begin(self, claimed: Sequence[Claimed]) -> None:
        self._put([run for run in claimed if run.queue])
        runs = [run for run in claimed if not run.queue]
        now = self._datetime()
        credentials = self._credentials.of({run.tenant_id for run in runs}, now)
        counters.count_unsigned(
            sum(_is_unsigned(credentials[r.tenant_id]) for r in runs)
        )
        build = building.builder(now)
        for run in runs:
            made = building.attempt(build, run, credentials[run.tenant_id])
            if isinstance(made, Outcome):
                self._give_up(run, made)
            else:
                self._transport.send(run, made)
                self._unbegun.discard(run.run_id)

    def _give_up(self, run: Claimed, outcome: Outcome) -> None:
        """Have that written of a run which was never handed to the transport."""
        self._unbegun.discard(run.run_id)
        self._on_done(run, outcome)

    def _put(self, runs: Sequence[Claimed]) -> None:
        """Deliver runs into pull queues; what cannot be put is its own run's failure."""
        if not runs:
            return
        try:
            finished = _put(runs, self._datetime())
        except Exception as error:
            if faults.is_outage(error) or isinstance(error, MemoryError):
                raise
            if half := len(runs) // 2:
                self._put(runs[:half])
                self._put(runs[half:])
                return
            told = f"could not be put into its queue ({type(error).__name__})"
            self._give_up(runs[0], Outcome(None, told, 0))
            return
        with self._changed:
            for run in runs:
                self._under_way[tenant_bits(run.run_id)] -= 1
                self._holding.let_go(run)
        self._unbegun.difference_update(run.run_id for run in runs)
        verdicts.tell(self._on_recorded, finished)

    def _may_start(self, run: Claimed) -> bool:
        """Asked by the transport when a request's turn has come: is it still ours?"""
        with self._changed:
            now = time.monotonic()
            return now >= self._resumes_at and self._holding.begin(run, now)

    # The transport's thread.

    def _on_done(self, run: Claimed, outcome: Outcome) -> None:
        self._done.put(_Done(run, outcome, self._datetime()))
        with self._changed:
            self._under_way[tenant_bits(run.run_id)] -= 1
            if outcome.trouble is Trouble.LOCAL:
                self._hold_back()
            self._answered += 1
            if self._answered >= REFILL:
                self._make_room()

    def _hold_back(self) -> None:
        """This machine lacks something: begin nothing for a moment, and then fewer."""
        now = time.monotonic()
        if now >= self._resumes_at:
            self._affordable = max(1, self._under_way.total() * 3 // 4)
            logger.warning(
                "This machine lacks memory or free sockets, so requests wait, and then "
                "%d at a time are made here for a minute.",
                self._affordable,
            )
        self._resumes_at, self._recovers_at = now + PAUSE, now + RECOVERY

    def _make_room(self) -> None:
        """Let others take the places of runs whose answers are here."""
        self._answered = 0
        self._waiting.call_back(self._room)
        self._changed.notify_all()

    # The recorder.

    def _record_forever(self) -> None:
        renew_every = settings.SCHEDULER_LEASE / 4
        renew_at = 0.0
        unwritten: list[_Done] = []
        while self._is_busy() or unwritten:
            self._recorded_at = time.monotonic()
            try:
                unwritten.extend(self._collect())
                self._be_present()
                self._heard_at = time.monotonic()
                self._tell_unsent()
                if time.monotonic() >= renew_at:
                    self._keep()
                    renew_at = time.monotonic() + renew_every
                if unwritten:
                    self._record([verdicts.judged(*done) for done in unwritten])
                    unwritten = []
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                _recover("record", error)
        self._leave_to_others()
        connection.close()

    def _is_busy(self) -> bool:
        return not self._stopping or bool(self._holding) or not self._done.empty()

    def _collect(self) -> list[_Done]:
        """What has finished, given a moment to become several."""
        try:
            first = self._done.get(timeout=0.25)
        except Empty:
            return []
        done = [first]
        if self._done.qsize() < CLAIM:
            # Not by waiting for each: being woken for it costs as much as judging it.
            time.sleep(BUFFER)
        with suppress(Empty):
            while len(done) < CLAIM:
                done.append(self._done.get_nowait())
        with self._changed:
            self._make_room()
        return done

    def _record(self, finished: Sequence[Finished]) -> None:
        ours = verdicts.write(finished)
        with self._changed:
            for item in finished:
                self._holding.let_go(item.run)
            self._changed.notify_all()
        lost = len(finished) - len(ours)
        if lost:
            counters.count_late(lost)
            logger.warning("%d answers came after their lease was over.", lost)
        moved_up = verdicts.follow_up(finished, now=self._datetime())
        with self._changed:
            self._waiting.add(moved_up)
            self._changed.notify_all()
        told = [item for item in finished if item.run.run_id in ours]
        verdicts.tell(self._on_recorded, told)

    def _be_present(self) -> None:
        """Hold our lock; again, and at once, if its session was lost."""
        try:
            self._presence.keep()
        except DatabaseError:
            connection.close()
            self._presence.keep()

    def _keep(self) -> None:
        """Prolong the leases of what is held for a while, and read the clock."""
        if not (self._transport.is_alive or self._stopping):
            # A sound process gets its runs when their leases run out, as they would
            # not while this one prolongs them.
            logger.critical("The transport has failed, so this worker ends.")
            os._exit(os.EX_SOFTWARE)
        self._renew()
        self._clock_offset = clock.read().timestamp() - clock.ticks()
        for step in (self._make_up_room, self._say_alive):
            try:
                step()
            except Exception as error:
                if faults.is_outage(error):
                    raise
                logger.error("A worker goes on without: %s", faults.brief(error))
        self._is_announced.set()

    def _say_alive(self) -> None:
        self._on_beat(self._presence.key)

    def _renew(self) -> None:
        asked_at = time.monotonic()
        with self._changed:
            old = list(
                self._holding.claimed_before(asked_at - settings.SCHEDULER_LEASE / 4)
            )
        if not old:
            return
        kept = leases.renew(held.lease for held in old)
        with self._changed:
            self._holding.prolong(kept, asked_at + settings.SCHEDULER_LEASE)

    def _tell_unsent(self) -> None:
        """Say which runs wait for their hosts: with this worker, they would not be lost.

        Seldom any wait for so long. Of others it costs nothing, and they count as lost.
        """
        now = time.monotonic()
        if now < self._tells_unsent_at:
            return
        self._tells_unsent_at = now + UNSENT_AFTER / 2
        with self._changed:
            unsent = self._holding.unsent(now - UNSENT_AFTER)
            begun = self._holding.begun_meanwhile()
        for some, is_unsent in ((begun, False), (unsent, True)):
            if some:
                leases.tell_unsent([h.lease for h in some], is_unsent=is_unsent)
        with self._changed:
            self._holding.said(unsent=unsent, begun=begun)

    def _make_up_room(self) -> None:
        """Learn tenants' own limits, and say on runs that wait for them why they do."""
        limits = {
            tenant_id % TENANT_BITS_RANGE: most
            for tenant_id, most in load_tenant_limits().items()
        }
        with self._changed:
            self._own_limits = limits
            if time.monotonic() >= self._recovers_at:
                self._affordable = self._most
            self._under_way = +self._under_way
            self._make_room()
            aside = self._waiting.aside_for_long()
        if aside:
            leases.explain_wait(aside)


def _thread(target: Callable[[], None], name: str) -> threading.Thread:
    # A daemon: a worker that Celery gives up on must end, not wait for its engine.
    return threading.Thread(target=target, name=name, daemon=True)


def _recover(what: str, error: Exception) -> None:
    if faults.is_outage(error):
        logger.warning("The database does not %s: %s", what, faults.first_line(error))
    else:
        logger.error("Failed to %s: %s", what, faults.brief(error))
    with suppress(DatabaseError):
        connection.close()
    time.sleep(PAUSE)


def _is_unsigned(credentials: Credentials | None) -> bool:
    return credentials is not None and not credentials.signing_secrets


def _put(runs: Sequence[Claimed], now: datetime) -> list[Finished]:
    """The messages and the verdicts, or neither."""
    messages = [
        pull_queue.NewMessage(
            tenant_id=run.tenant_id,
            queue=run.queue,
            name=str(run.run_id),
            timeout_seconds=MESSAGE_TIMEOUT,
            max_retries=pull_queue.UNLIMITED_RETRIES,
            payload=run.body,
            run_at=run.scheduled_for,
        )
        for run in runs
    ]
    finished = [Finished(r, Outcome(None, "", 0), retry.Succeed(), now) for r in runs]
    with transaction.atomic():
        pull_queue.enqueue_many(messages)
        record(finished)
    return finished
