"""What is broken, how, and for how long; a seed says when."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import redis

from tests.chaos.site import BEATS, QUEUE, WORKERS, Site, kill_group

# A fault takes its steps from the main loop; it yields how long to wait, in seconds.
Steps = Iterator[float]
Deed = Callable[[Site, tuple[str, ...], float], Steps]

# How often something is looked at that takes its own time.
LOOK = 0.1
# How long a part may take to stop: a worker finishes requests of up to 30 s.
PATIENCE = 50.0
# How long a new part needs to be of use.
SETTLE = 3.0


def kill(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    for name in victims:
        site.kill(name)
    yield seconds
    for name in victims:
        site.launch(name)


def freeze(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    for name in victims:
        site.freeze(name)
    try:
        yield seconds
    finally:
        for name in victims:
            site.thaw(name)


def stop(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    for name in victims:
        site.ask(name, signal.SIGTERM)
        yield from _ended(site, site.parts[name])
    yield seconds
    for name in victims:
        site.launch(name)


def roll(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """The new one first, then the old one out, one after the other, under load."""
    for name in victims:
        old = site.parts[name]
        site.leaving.append(old)
        site.launch(name)
        yield SETTLE
        old.send_signal(signal.SIGTERM)
        yield from _ended(site, old)
        site.leaving.remove(old)


def _ended(site: Site, process: subprocess.Popen[bytes]) -> Steps:
    waited = 0.0
    while process.poll() is None:
        yield LOOK
        waited += LOOK
        if waited > PATIENCE:
            site.complain(f"{process.args} did not stop when told to")
            kill_group(process)


def kill_child(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """One of web's processes, which its parent starts again."""
    [name] = victims
    _, *children = site.family(name)
    # None yet, if web itself was killed a moment ago.
    if children:
        children[-1].kill()
    yield 0.0


def _server(how: signal.Signals) -> Deed:
    def restart(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
        [name] = victims
        site.ask(name, how)
        yield from _ended(site, site.parts[name])
        yield seconds
        site.launch(name)
        server = site.postgres if name == "postgres" else site.redis
        while not server.is_ready():
            yield LOOK

    return restart


def wipe(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """Redis comes back without anything that it knew."""
    site.kill("redis")
    for path in site.redis.home.glob("*.aof"):
        path.unlink()
    shutil.rmtree(site.redis.home / "appendonlydir", ignore_errors=True)
    yield seconds
    site.launch("redis")


def cut_redis(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    with site.broker_client() as client, suppress(redis.RedisError):
        client.client_kill_filter(_type="normal", skipme=True)
    yield 0.0


def flush(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    site.flush_redis()
    yield 0.0


def steal(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """Take messages out of the broker, as one more consumer that does nothing."""
    taken = 0.0
    with site.broker_client() as client, suppress(redis.RedisError):
        while taken < seconds:
            client.blpop([QUEUE], timeout=LOOK)
            taken += LOOK
            yield 0.0


def cut_postgres(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    site.cut_database()
    yield 0.0


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what is done to how many of whom, and for how many seconds."""

    name: str
    deed: Deed
    group: tuple[str, ...]
    how_many: int = 1
    spans: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    # How long the victims are left alone afterwards.
    rest: float = SETTLE
    loses_requests: bool = False
    is_instant: bool = False


SHORT = ((0.3, 4.0),)
FREEZES = ((0.5, 4.0), (5.0, 15.0), (20.0, 60.0))
OUTAGES = ((0.3, 3.0),)
HANGS = ((0.5, 4.0), (4.0, 12.0))
POSTGRES, REDIS, WEB = ("postgres",), ("redis",), ("web",)

KINDS = (
    Kind("beat: kill -9", kill, BEATS, spans=SHORT, is_instant=True),
    Kind("beat: SIGSTOP", freeze, BEATS, spans=FREEZES, is_instant=True),
    Kind("beat: SIGTERM", stop, BEATS, spans=SHORT, is_instant=True),
    Kind("all beats: kill -9", kill, BEATS, len(BEATS), spans=SHORT),
    Kind("worker: kill -9", kill, WORKERS, spans=SHORT, loses_requests=True, is_instant=True),
    Kind("worker: SIGSTOP", freeze, WORKERS, spans=FREEZES, loses_requests=True, is_instant=True),
    Kind("worker: SIGTERM", stop, WORKERS, spans=SHORT, rest=10.0, is_instant=True),
    Kind("all workers: kill -9", kill, WORKERS, len(WORKERS), spans=SHORT, loses_requests=True),
    Kind("all workers: rolling restart", roll, WORKERS, len(WORKERS), rest=20.0, is_instant=True),
    Kind("web: kill -9", kill, WEB, spans=SHORT, is_instant=True),
    Kind("web: kill -9 of one process", kill_child, WEB, is_instant=True),
    Kind("web: SIGSTOP", freeze, WEB, spans=(*HANGS, *HANGS, (20.0, 60.0)), is_instant=True),
    Kind("web: SIGTERM", stop, WEB, spans=SHORT, is_instant=True),
    Kind("Redis: kill -9", kill, REDIS, spans=OUTAGES, rest=5.0),
    Kind("Redis: kill -9, without its data", wipe, REDIS, spans=OUTAGES, rest=5.0),
    Kind("Redis: SIGSTOP", freeze, REDIS, spans=HANGS, rest=5.0),
    Kind("Redis: FLUSHALL", flush, REDIS, rest=1.0, is_instant=True),
    Kind("Redis: CLIENT KILL", cut_redis, REDIS, rest=1.0, is_instant=True),
    Kind("Redis: messages deleted", steal, REDIS, spans=((1.0, 2.0),), rest=1.0),
    Kind("PostgreSQL: restart", _server(signal.SIGINT), POSTGRES, spans=OUTAGES, rest=8.0, loses_requests=True),
    Kind("PostgreSQL: immediate stop", _server(signal.SIGQUIT), POSTGRES, spans=OUTAGES, rest=8.0, loses_requests=True),
    Kind("PostgreSQL: SIGSTOP", freeze, POSTGRES, spans=HANGS, rest=8.0, loses_requests=True),
    Kind("PostgreSQL: sessions cut", cut_postgres, POSTGRES, rest=4.0, loses_requests=True, is_instant=True),
)  # fmt: skip
KIND = {kind.name: kind for kind in KINDS}


class Planned(NamedTuple):
    """A fault to come: `at` seconds after the beginning, for so many seconds."""

    at: float
    kind: str
    victims: tuple[str, ...]
    seconds: float

    @property
    def said(self) -> str:
        length = f", for {self.seconds:g} s" if self.seconds else ""
        return f"{self.kind}: {', '.join(self.victims)}{length}"


def plan(seed: int, seconds: float, *, every: float = 1.0) -> list[Planned]:
    """What is broken when. The same seed and length give the same plan.

    A shuffled deck of all kinds is dealt, one card at a time, so that each kind has its
    turn. A card whose victims are not whole waits; the first one in the deck that does
    keeps its victims from the others, or it would wait for ever.
    """
    rng = random.Random(seed)
    deck: list[Kind] = []
    busy_until: dict[str, float] = {}
    planned: list[Planned] = []
    at = every
    while at < seconds:
        card = _deal(deck, busy_until, at, rng)
        if card is not None:
            kind, victims = card
            drawn = rng.uniform(*rng.choice(kind.spans))
            length = round(min(drawn, seconds - at), 2)
            planned.append(Planned(round(at, 2), kind.name, victims, length))
            for name in victims:
                busy_until[name] = at + length + kind.rest
        at += every
    return planned


def _deal(
    deck: list[Kind], busy_until: dict[str, float], at: float, rng: random.Random
) -> tuple[Kind, tuple[str, ...]] | None:
    kept: set[str] = set()
    # The next deck lies ready behind this one, for when all that is left here must wait.
    while len(deck) <= len(KINDS):
        deck.extend(rng.sample(KINDS, len(KINDS)))
    for kind in list(deck):
        free = [
            name
            for name in kind.group
            if name not in kept and busy_until.get(name, 0.0) <= at
        ]
        if len(free) >= kind.how_many:
            deck.remove(kind)
            return kind, tuple(sorted(rng.sample(free, kind.how_many)))
        if not kept:
            kept.update(kind.group if kind.how_many > 1 else ())
    return None
