"""What is broken, how, and for how long; a seed says when."""

from __future__ import annotations

import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import psutil
import redis

from tests.chaos.acts import (
    LOOK,
    SETTLE,
    Deed,
    Steps,
    ended,
    migrate_beside_a_reader,
    promotion,
    roll,
    upgrade,
)
from tests.chaos.cluster import BEATS, PARTS, QUEUE, SERVERS, WORKERS, Site
from tests.chaos.hostile_tenant import MESSAGES, fire_message
from tests.chaos.proxies import CUT, OPEN, SILENT

HOUR = 3600.0
# When a part is surely at work, in seconds after its start.
GROWN = 12.0
# How long name servers take that are slow, in seconds.
SLOW = 2.5


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
        yield from ended(site, site.parts[name])
    yield seconds
    for name in victims:
        site.launch(name)


def roll_each(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    for name in victims:
        yield from roll(site, (name,), seconds)


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
        yield from ended(site, site.parts[name])
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


def starve(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    # One that starts and lacks files may say so, and end.
    while not all(_is_grown(site, name) for name in victims):
        yield LOOK
    for name in victims:
        site.starve(name)
        site.struck[victims] = time.time()
    yield seconds
    for name in victims:
        site.feed(name)


def _is_grown(site: Site, name: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return time.time() - site.family(name)[0].create_time() > GROWN
    return False


def deafen(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """Nobody reads the log of a part, and there is no room in its pipe."""
    logs = [site.pipes[name] for name in victims]
    for log in logs:
        log.ignore()
    try:
        yield seconds
    finally:
        for log in logs:
            log.read_on()


def shift_clock(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """An hour ahead, an hour behind, small steps, and right again."""
    for off in (HOUR, -HOUR, 7.5, -2.5):
        for name in victims:
            site.shift_clock(name, off)
        yield seconds / 4
    for name in victims:
        site.shift_clock(name, 0.0)


def _link(server: str, how: str) -> Deed:
    def change(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
        for name in victims:
            site.link(name, server, how)
        try:
            yield seconds
        finally:
            for name in victims:
                site.link(name, server, OPEN)

    return change


def silence_names(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    site.names.hangs("")
    yield seconds
    site.names.answers_again()


def slow_names(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    site.names.takes(SLOW)
    yield seconds
    site.names.answers_again()


def close_kept(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    site.close_kept(on=True)
    yield seconds
    site.close_kept(on=False)


def poison_broker(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """What no part of ours sent, among it an order to fire whatever there is."""
    task_ids = [task_id for task_id, _, _ in site.recurring()[:5]]
    site.push(*MESSAGES, *map(fire_message, task_ids))
    yield 0.0


def poison_interval(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """Microseconds, in django-celery-beat's own tables, as if by its admin."""
    before = site.poison_interval()
    yield seconds
    site.restore_interval(before)


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
    # Whether nobody else's requests may come late by it.
    is_harmless: bool = False


SHORT = ((0.3, 4.0),)
FREEZES = ((0.5, 4.0), (5.0, 15.0), (20.0, 60.0))
OUTAGES = ((0.3, 3.0),)
HANGS = ((0.5, 4.0), (4.0, 12.0))
NEEDS = ((1.0, 8.0),)
POSTGRES, REDIS, WEB = ("postgres",), ("redis",), ("web",)
# Not parts of the service; named here so that each is broken in one way at a time.
NAMES, TARGET = ("name servers",), ("target",)

KINDS = (
    Kind("beat: kill -9", kill, BEATS, spans=SHORT, is_instant=True),
    Kind("beat: SIGSTOP", freeze, BEATS, spans=FREEZES, is_instant=True),
    Kind("beat: SIGTERM", stop, BEATS, spans=SHORT, is_instant=True),
    Kind("all beats: kill -9", kill, BEATS, len(BEATS), spans=SHORT),
    Kind("worker: kill -9", kill, WORKERS, spans=SHORT, loses_requests=True, is_instant=True),
    Kind("worker: SIGSTOP", freeze, WORKERS, spans=FREEZES, loses_requests=True, is_instant=True),
    Kind("worker: SIGTERM", stop, WORKERS, spans=SHORT, rest=10.0, is_instant=True),
    Kind("all workers: kill -9", kill, WORKERS, len(WORKERS), spans=SHORT, loses_requests=True),
    Kind("all workers: rolling restart", roll_each, WORKERS, len(WORKERS), rest=20.0, is_instant=True),
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
    Kind("worker: too few files", starve, WORKERS, spans=NEEDS, is_instant=True),
    Kind("web: too few files", starve, WEB, spans=NEEDS),
    Kind("worker: log not read", deafen, WORKERS, spans=NEEDS, is_instant=True),
    Kind("beat: log not read", deafen, BEATS, spans=NEEDS, is_instant=True),
    Kind("web: log not read", deafen, WEB, spans=NEEDS, is_instant=True),
    Kind("worker: wrong clock", shift_clock, WORKERS, spans=HANGS, is_instant=True),
    Kind("beat: wrong clock", shift_clock, BEATS, spans=HANGS, is_instant=True),
    Kind("web: wrong clock", shift_clock, WEB, spans=HANGS, is_instant=True),
    Kind("worker: PostgreSQL cut off", _link("postgres", CUT), WORKERS, spans=HANGS, loses_requests=True, is_instant=True),
    Kind("worker: PostgreSQL silent", _link("postgres", SILENT), WORKERS, spans=FREEZES[:2], loses_requests=True, is_instant=True),
    Kind("worker: Redis cut off", _link("redis", CUT), WORKERS, spans=HANGS, is_instant=True),
    Kind("worker: Redis silent", _link("redis", SILENT), WORKERS, spans=FREEZES[:2], is_instant=True),
    Kind("beat: PostgreSQL cut off", _link("postgres", CUT), BEATS, spans=HANGS, is_instant=True),
    Kind("beat: PostgreSQL silent", _link("postgres", SILENT), BEATS, spans=FREEZES[:2], is_instant=True),
    Kind("beat: Redis cut off", _link("redis", CUT), BEATS, spans=HANGS, is_instant=True),
    Kind("beat: Redis silent", _link("redis", SILENT), BEATS, spans=FREEZES[:2], is_instant=True),
    Kind("web: PostgreSQL cut off", _link("postgres", CUT), WEB, spans=HANGS, is_instant=True),
    Kind("web: PostgreSQL silent", _link("postgres", SILENT), WEB, spans=HANGS, is_instant=True),
    Kind("name servers: silent", silence_names, NAMES, spans=HANGS, is_instant=True),
    Kind("name servers: slow", slow_names, NAMES, spans=HANGS, is_instant=True),
    Kind("target: closes kept connections", close_kept, TARGET, spans=HANGS, is_instant=True),
    Kind("Redis: poisonous messages", poison_broker, (*POSTGRES, *REDIS), 2, rest=1.0, is_instant=True),
    Kind("tables: an interval of a microsecond", poison_interval, POSTGRES, spans=HANGS, rest=1.0, is_instant=True),
)  # fmt: skip

EVERYBODY = (*PARTS, *SERVERS)
UPGRADE = Kind("all: rolling upgrade", upgrade, EVERYBODY, len(EVERYBODY), loses_requests=True, is_instant=True)  # fmt: skip
# Once in each round that has the time, after such a share of it; one of those named.
ACTS = (
    (0.3, (
        Kind("tables: migration beside a reader", migrate_beside_a_reader, EVERYBODY, len(EVERYBODY), ((16.0, 20.0),), 15.0, is_instant=True, is_harmless=True),
    )),
    (0.6, (
        Kind("PostgreSQL: kill -9 and promotion", promotion(signal.SIGKILL), POSTGRES, 1, ((6.0, 10.0),), 25.0, loses_requests=True, is_instant=True),
        Kind("PostgreSQL: SIGSTOP and promotion", promotion(signal.SIGSTOP), POSTGRES, 1, ((6.0, 10.0),), 25.0, loses_requests=True, is_instant=True),
    )),
)  # fmt: skip
ALL = (*KINDS, UPGRADE, *(kind for _, kinds in ACTS for kind in kinds))
KIND = {kind.name: kind for kind in ALL}
# A round of so many seconds has acts; so long before each, its victims are left alone.
LONG, BEFORE_ACT = 120.0, 15.0


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


def plan(
    seed: int, seconds: float, *, every: float = 1.0, only: str = ""
) -> list[Planned]:
    """What is broken when. The same seed and length give the same plan.

    A shuffled deck of all kinds is dealt, one card at a time, so that each kind has its
    turn. A card whose victims are not whole waits; the first one in the deck that does
    keeps its victims from the others, or it would wait for ever.
    """
    rng = random.Random(seed)
    kinds = [kind for kind in KINDS if only in kind.name]
    acts = _acts(rng, seconds, only)
    deck: list[Kind] = []
    busy_until: dict[str, float] = {}
    planned: list[Planned] = []
    at = every
    while at < seconds:
        if acts and acts[0].at <= at:
            planned.append(act := acts.pop(0))
            _keep(busy_until, act.victims, act.at + act.seconds + KIND[act.kind].rest)
        elif acts and acts[0].at <= at + BEFORE_ACT:
            _keep(busy_until, acts[0].victims, acts[0].at)
        card = _deal(kinds, deck, busy_until, at, rng)
        if card is not None:
            kind, victims = card
            is_due_to_act = acts and not set(victims).isdisjoint(acts[0].victims)
            end = acts[0].at if is_due_to_act else seconds
            length = min(_length(kind, rng), round(end - at, 2))
            planned.append(Planned(round(at, 2), kind.name, victims, length))
            _keep(busy_until, victims, at + length + kind.rest)
        at += every
    return planned


def _acts(rng: random.Random, seconds: float, only: str) -> list[Planned]:
    if seconds < LONG and not only:
        return []
    found = []
    for share, kinds in ACTS:
        if fitting := [kind for kind in kinds if only in kind.name]:
            kind = rng.choice(fitting)
            at = round(share * seconds, 2)
            found.append(Planned(at, kind.name, kind.group, _length(kind, rng)))
    return found


def _length(kind: Kind, rng: random.Random) -> float:
    return round(rng.uniform(*rng.choice(kind.spans)), 2)


def _keep(busy_until: dict[str, float], victims: tuple[str, ...], end: float) -> None:
    for name in victims:
        busy_until[name] = max(end, busy_until.get(name, 0.0))


def _deal(
    kinds: list[Kind],
    deck: list[Kind],
    busy_until: dict[str, float],
    at: float,
    rng: random.Random,
) -> tuple[Kind, tuple[str, ...]] | None:
    kept: set[str] = set()
    # The next deck lies ready behind this one, for when all that is left here must wait.
    while kinds and len(deck) <= len(kinds):
        deck.extend(rng.sample(kinds, len(kinds)))
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
