"""What takes a while, and many at once: an upgrade, a migration, a promotion."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from tests.acceptance.harness import ROOT
from tests.chaos.cluster import BEATS, WORKERS, Site, kill_group

# A fault takes its steps from the main loop; it yields how long to wait, in seconds.
Steps = Iterator[float]
Deed = Callable[[Site, tuple[str, ...], float], Steps]

# The release before. Nothing is released yet: the commit that rounds were first played on.
BEFORE = "adb1a0c"
# How often something is looked at that takes its own time.
LOOK = 0.1
# How long a part may take to stop: a worker finishes requests of up to 30 s.
PATIENCE = 50.0
# How long a new part needs to be of use.
SETTLE = 3.0
# Seconds that a migration, a copy of the database, or its catching up may take.
LONG = 120.0
# How long all is left alone before something that must harm nobody.
CALM = 10.0
IS_SYNCHRONOUS = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


def checkout(into: Path) -> Path | None:
    """The code of the release before; None where this is no repository."""
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
    if archive.returncode:
        return None
    into.mkdir()
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive.stdout, check=True)
    return into


def upgrade(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """Migrate beside the old code; then the new ones in, and the old ones out."""
    site.code_root = ROOT
    yield from _migrate(site)
    for pair in zip(BEATS, WORKERS, strict=True):
        yield from roll(site, pair, 0.0)
    site.ask("web", signal.SIGTERM)
    yield from ended(site, site.parts["web"])
    site.launch("web")
    yield SETTLE


def roll(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
    """The new ones first, then the old ones out, under load."""
    old = [site.parts[name] for name in victims]
    site.leaving += old
    for name in victims:
        site.launch(name)
    yield SETTLE
    for process in old:
        process.terminate()
    for process in old:
        yield from ended(site, process)
        site.leaving.remove(process)


def ended(
    site: Site, process: subprocess.Popen[bytes], most: float = PATIENCE
) -> Steps:
    waited = 0.0
    while process.poll() is None:
        yield LOOK
        waited += LOOK
        if waited > most:
            site.complain(f"{process.args} did not stop when told to")
            kill_group(process)


def migrate_beside_a_reader(
    site: Site, victims: tuple[str, ...], seconds: float
) -> Steps:
    """Forth and back, while a report reads the tasks in a long transaction."""
    yield CALM
    settings = {"DJANGO_SETTINGS_MODULE": "tests.chaos.next_release.settings"}
    site.struck[victims] = time.time()
    for where in ("0001", "zero"):
        with psycopg.connect(site.postgres.url) as reader:
            reader.execute("SELECT count(*) FROM tasks_api_task")
            process = site.begin_to_migrate("next_release", where, **settings)
            yield seconds / 2
            reader.rollback()
        yield from _migrated(site, process)


def _migrate(site: Site) -> Steps:
    yield from _migrated(site, site.begin_to_migrate())


def _migrated(site: Site, process: subprocess.Popen[bytes]) -> Steps:
    yield from ended(site, process, LONG)
    if process.returncode:
        site.complain(f"{process.args} ended with {process.returncode}")


def promotion(how: signal.Signals) -> Deed:
    def promote(site: Site, victims: tuple[str, ...], seconds: float) -> Steps:
        """The standby takes over; the former primary is back, and knows nothing of it."""
        copying = site.spare.copy(site.postgres)
        while copying.is_alive():
            yield LOOK
        process = site.spare.start()
        while not site.spare.is_ready():
            yield LOOK
        site.postgres.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        site.postgres.ask("SELECT pg_reload_conf()")
        while not site.postgres.ask(IS_SYNCHRONOUS):
            yield LOOK
        yield SETTLE
        former, family = site.postgres, site.family("postgres")
        site.away.add("postgres")
        _signal(family, how)
        site.struck[victims] = time.time()
        yield SETTLE / 3
        site.promote(process)
        yield seconds
        if how == signal.SIGSTOP:
            _signal(family, signal.SIGCONT)
        else:
            family = [psutil.Process(former.start().pid)]
        yield seconds
        family += [child for each in family[:1] for child in each.children()]
        _signal(family, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        shutil.rmtree(former.data)

    return promote


def _signal(family: list[psutil.Process], how: signal.Signals) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)
