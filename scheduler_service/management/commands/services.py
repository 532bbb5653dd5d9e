"""`manage.py services`: PostgreSQL and Redis where no URL is given, and a migrated database."""

from __future__ import annotations

import math
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.local.server import EmbeddedServer
from scheduler_service.local.state_files import LocalSetupError
from scheduler_service.process.supervisor import Program, Supervisor, spawn

READY_MESSAGE = "services are ready"


class Command(BaseCommand):
    help = "Run PostgreSQL and Redis (only those without a URL) until SIGTERM."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._serve(build_servers())
        except LocalSetupError as error:
            raise CommandError(str(error)) from error

    def _serve(self, servers: list[EmbeddedServer]) -> None:
        if not servers:
            self._say("DATABASE_URL and REDIS_URL are given: nothing to start here")
        with Supervisor(self.stdout, width=len("postgres")) as supervisor:
            programs = [_program(server) for server in servers]
            supervisor.start(*programs)
            for server, program in zip(servers, programs, strict=True):
                self._wait_for(server, program, supervisor)
            if not supervisor.stopping:
                self._migrate(supervisor)
            supervisor.run()

    def _wait_for(
        self, server: EmbeddedServer, program: Program, supervisor: Supervisor
    ) -> None:
        supervisor.wait_until(
            lambda: server.is_ready() or program.has_failed, timeout=60
        )
        if supervisor.stopping:
            return
        if not server.is_ready():
            raise CommandError(server.startup_problem())
        self._say(f"{server.title} is ready in {server.home}")

    def _migrate(self, supervisor: Supervisor) -> None:
        command = [sys.executable, f"{settings.BASE_DIR}/manage.py", "migrate"]
        migrating = spawn([*command, "--wait", "60", "--verbosity", "0"])
        supervisor.wait_until(lambda: migrating.poll() is not None, timeout=math.inf)
        if supervisor.stopping:
            # PostgreSQL rolls back what is not finished.
            migrating.terminate()
            migrating.wait()
        elif migrating.returncode:
            raise CommandError("The database could not be migrated; see above.")
        else:
            self._say(READY_MESSAGE)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def build_servers() -> list[EmbeddedServer]:
    """The servers that are not given by a URL."""
    postgres = [Postgres(settings.STATE_DIR)] if settings.EMBEDDED_POSTGRES else []
    redis = [Redis(settings.STATE_DIR)] if settings.EMBEDDED_REDIS else []
    return [*postgres, *redis]


def _program(server: EmbeddedServer) -> Program:
    name = type(server).__name__.lower()
    return Program(name, server.start, stop_signal=server.stop_signal)
