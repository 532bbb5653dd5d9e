"""What is done to the victims of each kind of fault, and how it is repaired."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import suppress

import psutil
import redis

from tests.broker_messages import QUEUE, build_fire_message
from tests.chaos.cluster import Cluster
from tests.chaos.hostile_tenant import MESSAGES
from tests.chaos.observations import read_recurring_tasks
from tests.chaos.proxies import OPEN
from tests.chaos.steps import (
    POLL_INTERVAL,
    FaultAction,
    FaultSteps,
    replace_parts,
    wait_until_ended,
)

HOUR = 3600.0
# A part is surely at work so many seconds after its start.
WARM_UP_SECONDS = 12.0
# Slow name servers take so many seconds.
SLOW_ANSWER_SECONDS = 2.5


def kill(cluster: Cluster, victims: tuple[str, ...], seconds: float) -> FaultSteps:
    for name in victims:
        cluster.kill(name)
    yield seconds
    for name in victims:
        cluster.launch(name)


def freeze(cluster: Cluster, victims: tuple[str, ...], seconds: float) -> FaultSteps:
    for name in victims:
        cluster.freeze(name)
    try:
        yield seconds
    finally:
        for name in victims:
            cluster.thaw(name)


def stop(cluster: Cluster, victims: tuple[str, ...], seconds: float) -> FaultSteps:
    for name in victims:
        cluster.send_stop_signal(name, signal.SIGTERM)
        yield from wait_until_ended(cluster, cluster.parts[name])
    yield seconds
    for name in victims:
        cluster.launch(name)


def restart_rolling(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    for name in victims:
        yield from replace_parts(cluster, (name,), seconds)


def kill_web_process(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Kill one of web's processes, which its parent starts again."""
    [name] = victims
    _, *children = cluster.process_tree(name)
    # There is none yet, if web itself was killed a moment ago.
    if children:
        children[-1].kill()
    yield 0.0


def make_server_restart(stop_signal: signal.Signals) -> FaultAction:
    def restart(
        cluster: Cluster, victims: tuple[str, ...], seconds: float
    ) -> FaultSteps:
        [name] = victims
        cluster.send_stop_signal(name, stop_signal)
        yield from wait_until_ended(cluster, cluster.parts[name])
        yield seconds
        cluster.launch(name)
        server = cluster.postgres if name == "postgres" else cluster.redis
        while not server.is_ready():
            yield POLL_INTERVAL

    return restart


def wipe_redis(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Kill Redis, and start it without its data."""
    cluster.kill("redis")
    for path in cluster.redis.home.glob("*.aof"):
        path.unlink()
    shutil.rmtree(cluster.redis.home / "appendonlydir", ignore_errors=True)
    yield seconds
    cluster.launch("redis")


def cut_redis_clients(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    with cluster.broker_client() as client, suppress(redis.RedisError):
        client.client_kill_filter(_type="normal", skipme=True)
    yield 0.0


def flush_redis(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    cluster.flush_redis()
    yield 0.0


def refuse_writes(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Make Redis a read-only replica of a master that is not there."""
    with cluster.broker_client() as client:
        client.replicaof("127.0.0.1", "1")
    try:
        yield seconds
    finally:
        with cluster.broker_client() as client:
            client.replicaof("NO", "ONE")


def steal_messages(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Take messages out of the broker, as a consumer that does nothing with them."""
    elapsed = 0.0
    with cluster.broker_client() as client, suppress(redis.RedisError):
        while elapsed < seconds:
            client.blpop([QUEUE], timeout=POLL_INTERVAL)
            elapsed += POLL_INTERVAL
            yield 0.0


def cut_postgres_sessions(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    cluster.cut_database_sessions()
    yield 0.0


def limit_files(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    # A part that lacks files while it starts may say so, and end.
    while not all(_is_warmed_up(cluster, name) for name in victims):
        yield POLL_INTERVAL
    for name in victims:
        cluster.limit_files(name)
        cluster.struck_at[victims] = time.time()
    yield seconds
    for name in victims:
        cluster.restore_files(name)


def _is_warmed_up(cluster: Cluster, name: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return (
            time.time() - cluster.process_tree(name)[0].create_time() > WARM_UP_SECONDS
        )
    return False


def stop_reading_logs(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Leave the logs of parts unread, and their pipes full."""
    logs = [cluster.log_pipes[name] for name in victims]
    for log in logs:
        log.stop_reading()
    try:
        yield seconds
    finally:
        for log in logs:
            log.resume_reading()


def shift_clock(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Set clocks an hour ahead, an hour behind, some seconds off, and right again."""
    for off in (HOUR, -HOUR, 7.5, -2.5):
        for name in victims:
            cluster.shift_clock(name, off)
        yield seconds / 4
    for name in victims:
        cluster.shift_clock(name, 0.0)


def make_disconnection(server: str, state: str) -> FaultAction:
    def change(
        cluster: Cluster, victims: tuple[str, ...], seconds: float
    ) -> FaultSteps:
        for name in victims:
            cluster.set_proxy_state(name, server, state)
        try:
            yield seconds
        finally:
            for name in victims:
                cluster.set_proxy_state(name, server, OPEN)

    return change


def silence_name_servers(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    cluster.name_server.hangs("")
    yield seconds
    cluster.name_server.answers_again()


def slow_name_servers(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    cluster.name_server.takes(SLOW_ANSWER_SECONDS)
    yield seconds
    cluster.name_server.answers_again()


def close_kept_connections(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    cluster.set_closing(on=True)
    yield seconds
    cluster.set_closing(on=False)


def poison_broker(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Send messages that no part of ours sends, with orders to fire tasks among them."""
    task_ids = [task.task_id for task in read_recurring_tasks(cluster)[:5]]
    cluster.push_messages(*MESSAGES, *map(build_fire_message, task_ids))
    yield 0.0


def poison_interval(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Write an interval of a microsecond into django-celery-beat's tables, as its admin could."""
    ids = cluster.poison_interval()
    yield seconds
    cluster.restore_interval(ids)
