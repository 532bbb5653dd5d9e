"""Faults that take a while and concern many parts: an upgrade, a migration, a promotion."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import suppress

import psutil
import psycopg

from tests.acceptance.harness import ROOT
from tests.chaos.cluster import BEATS, WORKERS, Cluster
from tests.chaos.steps import (
    POLL_INTERVAL,
    SETTLE_SECONDS,
    FaultAction,
    FaultSteps,
    replace_parts,
    wait_until_ended,
)

# Seconds that a migration may take.
MIGRATION_TIMEOUT = 120.0
# Seconds without another fault before a fault that must harm nobody.
CALM_SECONDS = 10.0
_NEXT_RELEASE = {"DJANGO_SETTINGS_MODULE": "tests.chaos.next_release.settings"}
_SYNCHRONOUS_STANDBY = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


def upgrade(cluster: Cluster, victims: tuple[str, ...], seconds: float) -> FaultSteps:
    """Migrate beside the old code; then start the new parts, and stop the old ones."""
    cluster.code_root = ROOT
    yield from _wait_for_migration(cluster, cluster.start_migration())
    for pair in zip(BEATS, WORKERS, strict=True):
        yield from replace_parts(cluster, pair, 0.0)
    cluster.send_stop_signal("web", signal.SIGTERM)
    yield from wait_until_ended(cluster, cluster.parts["web"])
    cluster.launch("web")
    yield SETTLE_SECONDS


def migrate_beside_a_reader(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Migrate forth and back, while a report reads the tasks in a long transaction."""
    yield CALM_SECONDS
    cluster.struck_at[victims] = time.time()
    for migration in ("0001", "zero"):
        with psycopg.connect(cluster.postgres.url) as reader:
            reader.execute("SELECT count(*) FROM tasks_api_task")
            process = cluster.start_migration(
                "next_release", migration, **_NEXT_RELEASE
            )
            yield seconds / 2
            reader.rollback()
        yield from _wait_for_migration(cluster, process)


def _wait_for_migration(
    cluster: Cluster, process: subprocess.Popen[bytes]
) -> FaultSteps:
    yield from wait_until_ended(cluster, process, MIGRATION_TIMEOUT)
    if process.returncode:
        cluster.report_failure(f"{process.args!r} ended with {process.returncode}")


def make_promotion(stop_signal: signal.Signals) -> FaultAction:
    def promote(
        cluster: Cluster, victims: tuple[str, ...], seconds: float
    ) -> FaultSteps:
        """Promote the standby, and let the former primary return unaware of it."""
        process = yield from _prepare_standby(cluster)
        former, processes = cluster.postgres, cluster.process_tree("postgres")
        cluster.held_parts.add("postgres")
        _send_signal(processes, stop_signal)
        cluster.struck_at[victims] = time.time()
        yield SETTLE_SECONDS / 3
        cluster.promote_spare(process)
        yield seconds
        if stop_signal == signal.SIGSTOP:
            _send_signal(processes, signal.SIGCONT)
        else:
            processes = [psutil.Process(former.start().pid)]
        yield seconds
        processes += [child for each in processes[:1] for child in each.children()]
        _send_signal(processes, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        shutil.rmtree(former.data)

    return promote


def _prepare_standby(
    cluster: Cluster,
) -> Generator[float, None, subprocess.Popen[bytes]]:
    """Start the spare server as a synchronous standby; returns its process."""
    copying = cluster.spare.start_copying(cluster.postgres)
    while copying.is_alive():
        yield POLL_INTERVAL
    process = cluster.spare.start()
    while not cluster.spare.is_ready():
        yield POLL_INTERVAL
    cluster.postgres.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    cluster.postgres.execute("SELECT pg_reload_conf()")
    while not cluster.postgres.execute(_SYNCHRONOUS_STANDBY):
        yield POLL_INTERVAL
    yield SETTLE_SECONDS
    return process


def _send_signal(processes: list[psutil.Process], sent: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(sent)
