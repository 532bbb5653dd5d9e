"""One round: everything starts, breaks by plan, is given back, and is asked what it did."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.acceptance.harness import ROOT, eventually
from tests.chaos.acts import Steps
from tests.chaos.clients import Client, Diary, Named, Service, clients
from tests.chaos.cluster import POISONER, Site
from tests.chaos.evidence import Evidence, Fault
from tests.chaos.faults import EVERYBODY, KIND, LONG, UPGRADE, Planned
from tests.chaos.hostile_tenant import Poisoner

# How often the main loop looks whether somebody died.
LOOK = 0.25
# How long the service may take to be whole again, and then to finish everything.
REPAIR, DRAIN = 120.0, 120.0
# Tasks live this long before anything is broken, and at the end of a long round.
CALM = 3.0
SETTLED, CALM_AT_LAST = 10.0, 12.0

Say = Callable[[str], None]


@dataclass
class _Running:
    planned: Planned
    steps: Steps
    began: float


class Storm:
    """Breaks what the plan says when it says so. One thread does it all.

    It must be the one that starts processes: they get a signal when it ends.
    """

    def __init__(self, site: Site, planned: Sequence[Planned], say: Say) -> None:
        self.site = site
        self.faults: list[Fault] = []
        self._say = say
        self._order = itertools.count()
        self._busy: set[str] = set()
        self._began = time.monotonic()
        self._agenda: list[tuple[float, int, Planned | _Running]] = []
        for each in planned:
            self._put(self._began + each.at, each)

    def rage(self, until: float) -> None:
        """Go on until a moment of the monotonic clock, and until all is given back."""
        while self._agenda or time.monotonic() < until:
            self.site.look_for_dead()
            now = time.monotonic()
            if self._agenda and self._agenda[0][0] <= now:
                item = heapq.heappop(self._agenda)[2]
                # What had to wait for its victim until now is too late.
                if isinstance(item, _Running) or now < until:
                    self._do(item)
                continue
            next_at = self._agenda[0][0] if self._agenda else until
            time.sleep(max(0.0, min(LOOK, next_at - now)))

    def _put(self, at: float, item: Planned | _Running) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), item))

    def _do(self, item: Planned | _Running) -> None:
        if isinstance(item, Planned):
            if self._busy & set(item.victims):
                # Its victim took longer than planned to stop or to come back.
                self._put(time.monotonic() + LOOK, item)
                return
            self._busy |= set(item.victims)
            steps = KIND[item.kind].deed(self.site, item.victims, item.seconds)
            at = time.monotonic() - self._began
            self._say(f"{at:7.2f} s  {item.said}")
            item = _Running(item, steps, time.time())
        wait = next(item.steps, None)
        if wait is None:
            self._end(item)
        else:
            self._put(time.monotonic() + wait, item)

    def _end(self, item: _Running) -> None:
        planned, kind = item.planned, KIND[item.planned.kind]
        self._busy -= set(planned.victims)
        self.faults.append(
            Fault(
                planned.kind,
                planned.victims,
                self.site.struck.pop(planned.victims, item.began),
                time.time(),
                kind.loses_requests,
                kind.is_instant,
                kind.is_harmless,
            )
        )


@dataclass(frozen=True)
class Outcome:
    evidence: Evidence
    # Seconds until every part was alive again, and until nothing was left to do.
    repaired_in: float
    drained_in: float


def play(
    site: Site, planned: Sequence[Planned], *, seed: int, seconds: float, say: Say
) -> Outcome:
    """Let clients and faults loose on a site that has begun; returns what was seen."""
    began = time.monotonic()
    diary = Diary()
    token = str(site.api.headers["Authorization"]).removeprefix("Bearer ")
    people = clients(seed, Service(site.url, token, site.target), diary)
    _start(people)
    time.sleep(CALM)
    faults = _upgrade(site, say) if site.code_root != ROOT else []
    evil = _evil(site, seed)
    late = [Named(1, seed, people[0].service, diary), evil]
    _start(late)
    people += late
    storm = Storm(site, planned, say)
    storm.rage(max(began, time.monotonic() - CALM) + seconds)
    faults += storm.faults
    say("All faults are over.")
    repaired_in = _seconds(lambda: eventually(site.is_whole, timeout=REPAIR))
    if seconds >= LONG:
        faults.append(_calm())
    drained_in = _seconds(lambda: _drain(site, people, diary))
    site.look_for_dead()
    return Outcome(
        Evidence(
            diary.calls,
            site.runs(),
            site.arrivals(),
            faults,
            site.misdeeds,
            site.words(),
            site.poison(),
            time.monotonic() - began,
        ),
        repaired_in,
        drained_in,
    )


def _start(people: Sequence[Client]) -> None:
    for client in people:
        client.start()


def _upgrade(site: Site, say: Say) -> list[Fault]:
    """The round began on the release before; it goes on with this one."""
    storm = Storm(site, [Planned(0.0, UPGRADE.name, EVERYBODY, 0.0)], say)
    storm.rage(time.monotonic() + CALM)
    say("The upgrade is over.")
    return storm.faults


def _evil(site: Site, seed: int) -> Poisoner:
    token = site.manage("issue_token", "--tenant", POISONER, "--user", "eve")
    return Poisoner(1, seed, Service(site.url, token, site.target), Diary())


def _calm() -> Fault:
    """All is whole, and what is not meant well is still there."""
    # What was broken before may still be felt.
    time.sleep(SETTLED)
    began = time.time()
    time.sleep(CALM_AT_LAST)
    return Fault("calm", (), began, time.time(), is_harmless=True)


def _drain(site: Site, people: Sequence[Client], diary: Diary) -> None:
    for client in people:
        client.stop()
    for client in people:
        client.join()
    for client in people:
        client.clean_up()
    _remove_strangers(site, people[0])
    deadline = time.monotonic() + DRAIN
    while not site.is_quiet() and time.monotonic() < deadline:
        # Whatever is not over then, the referee finds.
        time.sleep(LOOK)


def _remove_strangers(site: Site, client: Client) -> None:
    """Tasks that recur, of whose creation no client was told."""
    for task_id, name, mark in site.recurring():
        path = f"/?job_id={name}" if name else f"/tasks/id/{task_id}"
        client.say(mark, "delete", "DELETE", path, is_cron=bool(name))


def _seconds(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began
