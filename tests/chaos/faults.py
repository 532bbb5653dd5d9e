"""The kinds of faults: what they do to which parts, and what the service must stand."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from tests.chaos.acts import make_promotion, migrate_beside_a_reader, upgrade
from tests.chaos.cluster import BEATS, PARTS, SERVERS, WORKERS
from tests.chaos.evidence import Fault
from tests.chaos.fault_actions import (
    close_kept_connections,
    cut_postgres_sessions,
    cut_redis_clients,
    flush_redis,
    freeze,
    kill,
    kill_web_process,
    limit_files,
    make_disconnection,
    make_server_restart,
    poison_broker,
    poison_interval,
    refuse_writes,
    restart_rolling,
    shift_clock,
    silence_name_servers,
    slow_name_servers,
    steal_messages,
    stop,
    stop_reading_logs,
    wipe_redis,
)
from tests.chaos.fleets import Fleet
from tests.chaos.proxies import CUT, SILENT
from tests.chaos.steps import SETTLE_SECONDS, FaultAction


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault: what is done to how many of which parts, and for how long."""

    name: str
    action: FaultAction
    group: tuple[str, ...]
    victim_count: int = 1
    durations: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    # Seconds that the victims are left alone afterwards.
    rest: float = SETTLE_SECONDS
    loses_requests: bool = False
    is_instant: bool = False
    is_harmless: bool = False
    takes_bells: bool = False

    def in_fleet(self, fleet: Fleet) -> FaultKind:
        """The kind with victims in this fleet; what strikes all of a kind strikes all of it."""
        group = fleet.members(self.group)
        is_for_all = self.victim_count == len(self.group) > 1
        count = len(group) if is_for_all else self.victim_count
        return replace(self, group=group, victim_count=count)


SHORT_STOPS = ((0.3, 4.0),)
FREEZES = ((0.5, 4.0), (5.0, 15.0), (20.0, 60.0))
OUTAGES = ((0.3, 3.0),)
ABSENCES = ((0.3, 3.0), (5.0, 20.0))
HANGS = ((0.5, 4.0), (4.0, 12.0))
SHORTAGES = ((1.0, 8.0),)
POSTGRES, REDIS, WEB = ("postgres",), ("redis",), ("web",)
# No parts of the service; they have names so that each is broken in one way at a time.
NAME_SERVERS, TARGET = ("name servers",), ("target",)

KINDS = (
    FaultKind("beat: kill -9", kill, BEATS, durations=SHORT_STOPS, is_instant=True),
    FaultKind("beat: SIGSTOP", freeze, BEATS, durations=FREEZES, is_instant=True),
    FaultKind("beat: SIGTERM", stop, BEATS, durations=SHORT_STOPS, is_instant=True),
    FaultKind("all beats: kill -9", kill, BEATS, len(BEATS), durations=SHORT_STOPS),
    FaultKind("worker: kill -9", kill, WORKERS, durations=SHORT_STOPS, loses_requests=True, is_instant=True),
    FaultKind("worker: SIGSTOP", freeze, WORKERS, durations=FREEZES, loses_requests=True, is_instant=True),
    FaultKind("worker: SIGTERM", stop, WORKERS, durations=SHORT_STOPS, rest=10.0, is_instant=True),
    FaultKind("all workers: kill -9", kill, WORKERS, len(WORKERS), durations=SHORT_STOPS, loses_requests=True),
    FaultKind("all workers: rolling restart", restart_rolling, WORKERS, len(WORKERS), rest=20.0, is_instant=True),
    FaultKind("web: kill -9", kill, WEB, durations=SHORT_STOPS, is_instant=True),
    FaultKind("web: kill -9 of one process", kill_web_process, WEB, is_instant=True),
    FaultKind("web: SIGSTOP", freeze, WEB, durations=(*HANGS, *HANGS, (20.0, 60.0)), is_instant=True),
    FaultKind("web: SIGTERM", stop, WEB, durations=SHORT_STOPS, is_instant=True),
    FaultKind("Redis: kill -9", kill, REDIS, durations=ABSENCES, rest=5.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: kill -9, without its data", wipe_redis, REDIS, durations=OUTAGES, rest=5.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: SIGSTOP", freeze, REDIS, durations=HANGS, rest=5.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: read-only", refuse_writes, REDIS, durations=ABSENCES, rest=5.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: FLUSHALL", flush_redis, REDIS, rest=1.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: CLIENT KILL", cut_redis_clients, REDIS, rest=1.0, is_instant=True, takes_bells=True),
    FaultKind("Redis: messages deleted", steal_messages, REDIS, durations=((1.0, 2.0),), rest=1.0, is_instant=True, takes_bells=True),
    FaultKind("PostgreSQL: restart", make_server_restart(signal.SIGINT), POSTGRES, durations=OUTAGES, rest=8.0, loses_requests=True),
    FaultKind("PostgreSQL: immediate stop", make_server_restart(signal.SIGQUIT), POSTGRES, durations=OUTAGES, rest=8.0, loses_requests=True),
    FaultKind("PostgreSQL: SIGSTOP", freeze, POSTGRES, durations=HANGS, rest=8.0, loses_requests=True),
    FaultKind("PostgreSQL: sessions cut", cut_postgres_sessions, POSTGRES, rest=4.0, loses_requests=True, is_instant=True),
    FaultKind("worker: too few files", limit_files, WORKERS, durations=SHORTAGES, is_instant=True),
    FaultKind("web: too few files", limit_files, WEB, durations=SHORTAGES),
    FaultKind("worker: log not read", stop_reading_logs, WORKERS, durations=SHORTAGES, is_instant=True),
    FaultKind("beat: log not read", stop_reading_logs, BEATS, durations=SHORTAGES, is_instant=True),
    FaultKind("web: log not read", stop_reading_logs, WEB, durations=SHORTAGES, is_instant=True),
    FaultKind("worker: wrong clock", shift_clock, WORKERS, durations=HANGS, is_instant=True),
    FaultKind("beat: wrong clock", shift_clock, BEATS, durations=HANGS, is_instant=True),
    FaultKind("web: wrong clock", shift_clock, WEB, durations=HANGS, is_instant=True),
    FaultKind("worker: PostgreSQL cut off", make_disconnection("postgres", CUT), WORKERS, durations=HANGS, loses_requests=True, is_instant=True),
    FaultKind("worker: PostgreSQL silent", make_disconnection("postgres", SILENT), WORKERS, durations=FREEZES[:2], loses_requests=True, is_instant=True),
    FaultKind("worker: Redis cut off", make_disconnection("redis", CUT), WORKERS, durations=HANGS, is_instant=True, takes_bells=True),
    FaultKind("worker: Redis silent", make_disconnection("redis", SILENT), WORKERS, durations=FREEZES[:2], is_instant=True, takes_bells=True),
    FaultKind("beat: PostgreSQL cut off", make_disconnection("postgres", CUT), BEATS, durations=HANGS, is_instant=True),
    FaultKind("beat: PostgreSQL silent", make_disconnection("postgres", SILENT), BEATS, durations=FREEZES[:2], is_instant=True),
    FaultKind("beat: Redis cut off", make_disconnection("redis", CUT), BEATS, durations=HANGS, is_instant=True, takes_bells=True),
    FaultKind("beat: Redis silent", make_disconnection("redis", SILENT), BEATS, durations=FREEZES[:2], is_instant=True, takes_bells=True),
    FaultKind("web: PostgreSQL cut off", make_disconnection("postgres", CUT), WEB, durations=HANGS, is_instant=True),
    FaultKind("web: PostgreSQL silent", make_disconnection("postgres", SILENT), WEB, durations=HANGS, is_instant=True),
    FaultKind("name servers: silent", silence_name_servers, NAME_SERVERS, durations=HANGS, is_instant=True),
    FaultKind("name servers: slow", slow_name_servers, NAME_SERVERS, durations=HANGS, is_instant=True),
    FaultKind("target: closes kept connections", close_kept_connections, TARGET, durations=HANGS, is_instant=True),
    FaultKind("Redis: poisonous messages", poison_broker, (*POSTGRES, *REDIS), 2, rest=1.0, is_instant=True),
    FaultKind("tables: an interval of a microsecond", poison_interval, POSTGRES, durations=HANGS, rest=1.0, is_instant=True),
)  # fmt: skip

ALL_PARTS = (*PARTS, *SERVERS)
UPGRADE = FaultKind("all: rolling upgrade", upgrade, ALL_PARTS, len(ALL_PARTS), loses_requests=True, is_instant=True)  # fmt: skip
# One kind of each act has its turn in a long round, after this share of it.
ACTS = (
    (0.3, (
        FaultKind("tables: migration beside a reader", migrate_beside_a_reader, ALL_PARTS, len(ALL_PARTS), ((16.0, 20.0),), 15.0, is_instant=True, is_harmless=True),
    )),
    (0.6, (
        FaultKind("PostgreSQL: kill -9 and promotion", make_promotion(signal.SIGKILL), POSTGRES, 1, ((6.0, 10.0),), 25.0, loses_requests=True, is_instant=True),
        FaultKind("PostgreSQL: SIGSTOP and promotion", make_promotion(signal.SIGSTOP), POSTGRES, 1, ((6.0, 10.0),), 25.0, loses_requests=True, is_instant=True),
    )),
)  # fmt: skip
ALL_KINDS = (*KINDS, UPGRADE, *(kind for _, kinds in ACTS for kind in kinds))
KIND_BY_NAME = {kind.name: kind for kind in ALL_KINDS}


def record_fault(
    kind: FaultKind, victims: tuple[str, ...], began_at: float, repaired_at: float
) -> Fault:
    """What the referee reads of a fault that is over."""
    return Fault(
        kind.name,
        victims,
        began_at,
        repaired_at,
        kind.loses_requests,
        kind.is_instant,
        kind.is_harmless,
        kind.takes_bells,
    )
