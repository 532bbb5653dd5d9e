"""One worker process's engine: claim → build → send → judge → record, for many at once.

Three threads, each waiting on one thing. The *claimer* sleeps until runs are due and
takes them in batches; the *transport* has thousands of requests under way; the
*recorder* writes verdicts in batches and prolongs the leases of what is still held.
Nothing here is worth saving: a run whose engine dies is woken when its lease is over,
or before, when a beat sees that nobody holds the engine's presence any more.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from queue import Empty, SimpleQueue
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from accounts import encryption
from accounts.services import keyrings, own_limits
from scheduler_service import clock
from tasks_api import (
    long_work,
    metrics,
    overlap,
    pull,
    services,
    streaks,
    waking,
)
from tasks_api.delivery import leases, request, retry
from tasks_api.delivery.record import Finished, record
from tasks_api.delivery.request import Claimed, Credentials, Outcome
from tasks_api.delivery.shares import room
from tasks_api.delivery.transport import Transport
from tasks_api.delivery.waiting import Waiting
from tasks_api.heartbeats import Presence
from tasks_api.ids import LANES, lane_of
from tasks_api.specs import Overlap

logger = logging.getLogger(__name__)

# Runs in one claim, as many as their bodies are cheap to hold.
CLAIM = 500
# Runs that a worker is told of before it lets messages wait in the broker.
MOST_WAITING = 20_000
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
# A secret that was rotated is used this much longer at most.
CREDENTIALS_LIFETIME = 5.0
# How long a consumer may be silent about a message that a task put into its queue.
MESSAGE_TIMEOUT = 30

Listener = Callable[[Sequence[Finished]], None]
Build = Callable[[Claimed, Credentials], request.Request]


class _Done(NamedTuple):
    run: Claimed
    outcome: Outcome
    ended_at: float


class _Held(NamedTuple):
    run: Claimed
    claimed_at: float


class Vitals(NamedTuple):
    """What an engine has in hand, and when its parts were last at work (monotonic)."""

    held: int
    accepted: int
    has_room: bool
    # Seconds since the moment of the first run that could be claimed and is not.
    overdue: float
    accepted_at: float
    claimed_at: float
    recorded_at: float


class Engine:
    """Delivers runs until it is stopped. `on_recorded` hears of what was written down."""

    def __init__(
        self, *, on_recorded: Listener, on_beat: Callable[[int], None]
    ) -> None:
        self._on_recorded = on_recorded
        self._on_beat = on_beat
        self._most = settings.SCHEDULER_MAX_IN_FLIGHT
        self._waiting = Waiting()
        self._held: dict[UUID, _Held] = {}
        # By lanes, as the ids of runs have them.
        self._under_way: Counter[int] = Counter()
        self._answered = 0
        self._own_limits: dict[int, int] = {}
        self._done: SimpleQueue[_Done] = SimpleQueue()
        self._changed = threading.Condition()
        self._stopping = False
        self._clock_offset = 0.0
        self._lease_until: dict[UUID, float] = {}
        self._credentials = _KnownCredentials()
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
            tenant_of=lambda run: lane_of(run.run_id),
            places_of=self._places,
            lookup_timeout=settings.SCHEDULER_LOOKUP_TIMEOUT,
        )
        self._claimer = _thread(self._claim_forever, "claimer")
        self._recorder = _thread(self._record_forever, "recorder")

    def start(self) -> None:
        self._transport.start()
        self._claimer.start()
        self._recorder.start()

    def stop(self, *, grace: float) -> None:
        """Take no more, let what is under way finish, give the rest back."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._is_announced.set()
        self._claimer.join()
        self._transport.close(grace=grace)
        self._recorder.join()
        self._leave_to_others()

    def _leave_to_others(self) -> None:
        """Have what was accepted and not begun rung for again at once."""
        try:
            waking.ring_soon(self._waiting, after=timedelta())
        except DatabaseError as error:
            logger.warning("Other workers will hear of some runs later: %s", error)
        connection.close()

    def accept(self, run_ids: Iterable[UUID]) -> None:
        """Take charge of runs when their moments come; blocks while there are too many.

        So a full engine leaves messages to the broker, and thus to other workers.
        """
        with self._changed:
            while len(self._waiting) >= MOST_WAITING and not self._stopping:
                self._changed.wait()
            self._waiting.add(set(run_ids) - self._held.keys())
            self._accepted_at = time.monotonic()
            self._changed.notify_all()

    def vitals(self) -> Vitals:
        """For those who look from outside."""
        with self._changed:
            wait = self._seconds_to_wait()
            return Vitals(
                held=len(self._held),
                accepted=len(self._waiting),
                has_room=len(self._waiting) < MOST_WAITING,
                overdue=0.0 if wait is None else max(0.0, -wait),
                accepted_at=self._accepted_at,
                claimed_at=self._claimed_at,
                recorded_at=self._recorded_at,
            )

    # The claimer.

    def _claim_forever(self) -> None:
        # What is claimed by one who is not known to be here, nobody would miss.
        self._is_announced.wait()
        while (run_ids := self._next_due()) is not None:
            try:
                self._claim(run_ids)
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                # Nobody holds these runs now; a beat rings for them again.
                _recover("claim", error)
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
        return first + ROUNDING + GATHER - self._now()

    def _pop_due(self) -> list[UUID]:
        most = min(CLAIM, self._room_for_all())
        room_of = partial(self._room, under_way=self._under_way.total())
        popped = self._waiting.pop(
            until=self._now() - ROUNDING, most=most, room=room_of
        )
        self._changed.notify_all()
        return popped

    def _room_for_all(self) -> int:
        """How many runs more may be begun here.

        What was answered makes room for others before it is written down. But while
        nothing can be written down, no more is begun than that twice.
        """
        most: int = self._most
        return most - max(self._under_way.total(), len(self._held) - most)

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
        return time.time() + self._clock_offset

    def _claim(self, run_ids: Sequence[UUID]) -> None:
        # Read before the statement, so that we think a lease over before others do.
        claimed_at = time.monotonic()
        claimed = leases.claim(run_ids, presence=self._presence.key)
        metrics.count_unclaimed(len(run_ids) - len(claimed))
        self._put([run for run in claimed if run.queue])
        runs = [run for run in claimed if not run.queue]
        credentials = self._credentials.of({run.tenant_id for run in runs})
        metrics.count_unsigned(
            sum(not credentials[run.tenant_id].signing_secrets for run in runs)
        )
        now = datetime.now(UTC)
        until = claimed_at + settings.SCHEDULER_LEASE
        with self._changed:
            for run in runs:
                self._held[run.run_id] = _Held(run, claimed_at)
                self._lease_until[run.run_id] = until
            self._under_way.update(lane_of(run.run_id) for run in runs)
            # For those that others had begun, others may come.
            self._waiting.call_back(self._room)
        build = _build_at(now)
        for run in runs:
            self._send(run, credentials[run.tenant_id], build)

    def _put(self, runs: Sequence[Claimed]) -> None:
        """Deliver runs into pull queues: the messages and the verdicts, or neither."""
        if not runs:
            return
        messages = [
            pull.NewMessage(
                tenant_id=run.tenant_id,
                queue=run.queue,
                name=str(run.run_id),
                timeout_seconds=MESSAGE_TIMEOUT,
                max_retries=pull.WITHOUT_END,
                payload=run.body,
                run_at=run.scheduled_for,
            )
            for run in runs
        ]
        now = datetime.now(UTC)
        finished = [
            Finished(r, Outcome(None, "", 0), retry.Succeed(), now) for r in runs
        ]
        with transaction.atomic():
            pull.put(messages)
            record(finished)
        self._on_recorded(finished)

    def _send(self, run: Claimed, credentials: Credentials, build: Build) -> None:
        try:
            built = build(run, credentials)
        except ValueError as error:
            # Held and never sent, it would stay under way for ever.
            self._on_done(run, Outcome(None, f"could not be built: {error}", 0))
            return
        self._transport.send(run, built)

    def _may_start(self, run: Claimed) -> bool:
        """Asked by the transport when a request's turn has come: is it still ours?"""
        return time.monotonic() < self._lease_until.get(run.run_id, 0.0)

    # The transport's thread.

    def _on_done(self, run: Claimed, outcome: Outcome) -> None:
        self._done.put(_Done(run, outcome, time.time()))
        with self._changed:
            self._under_way[lane_of(run.run_id)] -= 1
            self._answered += 1
            if self._answered >= REFILL:
                self._make_room()

    def _make_room(self) -> None:
        """Let others take the places of runs whose answers are here."""
        self._answered = 0
        self._waiting.call_back(self._room)
        self._changed.notify_all()

    # The recorder.

    def _record_forever(self) -> None:
        renew_every = settings.SCHEDULER_LEASE / 4
        renew_at = 0.0
        unwritten: list[Finished] = []
        while self._is_busy() or unwritten:
            self._recorded_at = time.monotonic()
            unwritten.extend(self._collect())
            try:
                self._be_present()
                if time.monotonic() >= renew_at:
                    self._keep()
                    renew_at = time.monotonic() + renew_every
                if unwritten:
                    self._record(unwritten)
                    unwritten = []
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                _recover("record", error)
        connection.close()

    def _is_busy(self) -> bool:
        return not self._stopping or bool(self._held) or not self._done.empty()

    def _collect(self) -> list[Finished]:
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
        return [_finished(item) for item in done]

    def _record(self, finished: Sequence[Finished]) -> None:
        ours = streaks.record_and_count(finished)
        with self._changed:
            for item in finished:
                self._let_go(item.run)
            self._changed.notify_all()
        lost = len(finished) - len(ours)
        if lost:
            metrics.count_late(lost)
            logger.warning("%d answers came after their lease was over.", lost)
        self._follow_up(finished)
        self._on_recorded([item for item in finished if item.run.run_id in ours])

    def _follow_up(self, finished: Sequence[Finished]) -> None:
        """End tasks whose targets are gone, and let the runs begin that waited for these.

        What fails here is made up for: by a beat, or by the next answer of the target.
        """
        try:
            _end_tasks(finished)
            moved_up = _move_up(finished)
        except DatabaseError as error:
            logger.warning("What waits for some runs will begin later: %s", error)
            return
        with self._changed:
            self._waiting.add(moved_up)
            self._changed.notify_all()

    def _let_go(self, run: Claimed) -> None:
        held = self._held.get(run.run_id)
        if held is not None and held.run.lease == run.lease:
            del self._held[run.run_id]
            del self._lease_until[run.run_id]

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
        limits = {tenant_id % LANES: most for tenant_id, most in own_limits().items()}
        asked_at = time.monotonic()
        self._clock_offset = clock.read().timestamp() - time.time()
        with self._changed:
            self._own_limits = limits
            self._under_way = +self._under_way
            self._make_room()
            aside = self._waiting.aside_for_long()
            old = [
                held
                for held in self._held.values()
                if asked_at - held.claimed_at > settings.SCHEDULER_LEASE / 4
            ]
        if old:
            kept = leases.renew((held.run.run_id, held.run.lease) for held in old)
            with self._changed:
                for run_id in kept & self._lease_until.keys():
                    self._lease_until[run_id] = asked_at + settings.SCHEDULER_LEASE
        if aside:
            leases.explain_wait(aside)
        self._on_beat(self._presence.key)
        self._is_announced.set()


def _thread(target: Callable[[], None], name: str) -> threading.Thread:
    # A daemon: a worker that Celery gives up on must end, not wait for its engine.
    return threading.Thread(target=target, name=name, daemon=True)


def _recover(what: str, error: Exception) -> None:
    if isinstance(error, DatabaseError):
        logger.warning("The database does not %s: %s", what, error)
    else:
        logger.error("Failed to %s.", what, exc_info=error)
    connection.close()
    time.sleep(PAUSE)


def _finished(done: _Done) -> Finished:
    spent = timedelta(milliseconds=done.outcome.duration_ms)
    ended_at = datetime.fromtimestamp(done.ended_at, tz=UTC)
    verdict = retry.judge(done.outcome, done.run, now=ended_at)
    return Finished(done.run, done.outcome, verdict, ended_at - spent)


def _end_tasks(finished: Iterable[Finished]) -> None:
    """End the tasks whose targets said that they are gone for good."""
    gone = {
        item.run.task_id: item.run.url
        for item in finished
        if isinstance(item.verdict, retry.GiveUp) and item.verdict.ends_task
    }
    if gone:
        services.end_tasks(gone, now=datetime.now(UTC))


def _move_up(finished: Iterable[Finished]) -> list[UUID]:
    """Let the runs begin that waited for these; a beat does it where this does not."""
    in_line = {f.run.task_id for f in finished if f.run.overlap == Overlap.QUEUE_ONE}
    return overlap.move_up(list(in_line)) if in_line else []


def _build_at(now: datetime) -> Build:
    """What makes requests; Django's settings, slow to read, are read once for many."""
    return partial(
        request.build,
        now=now,
        timeout=settings.SCHEDULER_REQUEST_TIMEOUT,
        unseal=_unseal,
        open_url=_open_url,
        run_key=long_work.keys()[0],
        public_url=settings.SCHEDULER_PUBLIC_URL,
    )


@lru_cache(maxsize=1000)
def _unseal(sealed: str) -> list[str]:
    try:
        values: list[str] = json.loads(encryption.decrypt(sealed))
    except encryption.Unreadable:
        raise ValueError("SECRET_KEY does not open its headers") from None
    return values


@lru_cache(maxsize=1000)
def _open_url(stored: str) -> str:
    try:
        return encryption.open_url(stored)
    except encryption.Unreadable:
        raise ValueError(
            "SECRET_KEY does not open the credentials in its URL"
        ) from None


class _KnownCredentials:
    """What the tenants' requests are made with, read once in a while."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Credentials]] = {}

    def of(self, tenant_ids: Iterable[int]) -> Mapping[int, Credentials]:
        oldest = time.monotonic() - CREDENTIALS_LIFETIME
        wanted = set(tenant_ids)
        stale = {
            tenant_id
            for tenant_id in wanted
            if tenant_id not in self._known or self._known[tenant_id][0] < oldest
        }
        if stale:
            read_at, rings = time.monotonic(), keyrings(stale, datetime.now(UTC))
            for tenant_id in stale:
                ring = rings.get(tenant_id, ())
                self._known[tenant_id] = read_at, Credentials(*ring)
        return {tenant_id: self._known[tenant_id][1] for tenant_id in wanted}
