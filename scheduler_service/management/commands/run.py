"""`manage.py run`: the whole service on this machine, with an account to try it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now

from scheduler_service.local.ports import check_port, free_port, save_metrics_port
from scheduler_service.local.state_files import (
    LocalSetupError,
    check_state_dir,
    hold_run_lock,
)
from scheduler_service.management.commands.migrate import wait_for_database
from scheduler_service.management.commands.services import build_servers
from scheduler_service.management.demo import (
    private_targets,
    provision_admin,
    welcome_text,
)
from scheduler_service.management.own_web import is_web_ready
from scheduler_service.process.supervisor import (
    Program,
    Supervisor,
    read_procfile,
    spawn,
)
from tasks_api.messaging import broker
from tasks_api.messaging.errors import BrokerAway, UnusableBroker, UnusableForNow
from tasks_api.models import Heartbeat
from tasks_api.monitoring.heartbeats import ALIVE_FOR

CELL_PROGRAMS = ("web", "worker", "beat")
APP_PROGRAMS = (*CELL_PROGRAMS, "flower")
# Seconds for a cold start on a busy machine; a warm one takes a few.
START_TIMEOUT = 120.0


class Command(BaseCommand):
    help = "Run everything on this machine: services, web, worker, beat and Flower."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--as-cell",
            action="store_true",
            help="Leave out Flower, the echo target and the account to try it; "
            "`manage.py cells` has them for all of its cells.",
        )

    def handle(self, *args: Any, as_cell: bool, **options: Any) -> None:
        self.as_cell = as_cell
        try:
            check_state_dir(settings.STATE_DIR)
            with hold_run_lock(settings.STATE_DIR):
                self._check()
                self._run()
        except LocalSetupError as error:
            raise CommandError(str(error)) from error

    def _check(self) -> None:
        for server in build_servers():
            server.refuse_if_taken()
        check_port(settings.HOST, settings.PORT, "PORT")
        if not self.as_cell:
            check_port(settings.HOST, settings.FLOWER_PORT, "FLOWER_PORT")
        if not settings.EMBEDDED_POSTGRES:
            wait_for_database(connection)
        if not settings.EMBEDDED_REDIS:
            check_broker(settings.CELERY_BROKER_URL)

    def _run(self) -> None:
        commands = read_procfile(settings.BASE_DIR / "Procfile")
        echo_port = free_port(settings.PORT + 1)
        environment = _environment(echo_port, save_metrics_port())
        start = partial(_program, commands, environment)

        with Supervisor(self.stdout, width=max(map(len, commands))) as supervisor:
            self._start_services(supervisor, start("services"))
            if supervisor.stopping:
                return
            password = provision_admin() if settings.DEVELOPMENT else ""
            connection.close()
            self._start_app(supervisor, start)
            if not supervisor.stopping and not self.as_cell:
                self.stdout.write(welcome_text(echo_port, password))
                self.stdout.flush()
            connection.close()
            supervisor.run()
            self.stdout.write("Stopping; Ctrl-C again stops at once.")

    def _start_services(self, supervisor: Supervisor, services: Program) -> None:
        supervisor.start(services)
        self._expect(
            supervisor, lambda: is_migrated() or services.has_failed, "services"
        )
        if services.has_failed:
            raise CommandError("The services could not be started; see above.")

    def _start_app(
        self, supervisor: Supervisor, start: Callable[[str], Program]
    ) -> None:
        has_echo = settings.DEVELOPMENT and not self.as_cell
        # Echo stops last, because the worker still finishes its requests.
        supervisor.start(*([start("echo")] if has_echo else []))
        supervisor.start(*map(start, CELL_PROGRAMS if self.as_cell else APP_PROGRAMS))
        self._expect(supervisor, is_web_ready, "web")
        self._expect(supervisor, are_processes_alive, "worker and beat", fatal=False)

    def _expect(
        self,
        supervisor: Supervisor,
        condition: Callable[[], bool],
        what: str,
        *,
        fatal: bool = True,
    ) -> None:
        if (
            supervisor.wait_until(condition, timeout=START_TIMEOUT)
            or supervisor.stopping
        ):
            return
        problem = (
            f"No sign of life from {what} within {START_TIMEOUT:.0f} s; see above."
        )
        if fatal:
            raise CommandError(problem)
        self.stderr.write(problem)


def check_broker(url: str) -> None:
    try:
        broker.check_usable(url, timeout=5)
    except UnusableForNow:
        # Workers and beats start all the same, and say why.
        return
    except (BrokerAway, ValueError) as error:
        raise CommandError(f"The broker does not answer: {error}") from error
    except UnusableBroker as reason:
        raise CommandError(str(reason)) from reason


def _environment(echo_port: int, metrics_port: int) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "ECHO_PORT": str(echo_port),
        "METRICS_PORT": str(metrics_port),
        "SCHEDULER_ALLOW_PRIVATE_TARGETS": private_targets(),
    }


def _program(
    commands: Mapping[str, str], environment: Mapping[str, str], name: str
) -> Program:
    def start() -> subprocess.Popen[bytes]:
        process = spawn(
            ["/bin/sh", "-c", f"exec {commands[name]}"],
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        # Lets an operator kill this very process.
        (settings.STATE_DIR / f"{name}.pid").write_text(f"{process.pid}\n")
        return process

    return Program(name, start)


def is_migrated() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        return False


def are_processes_alive() -> bool:
    alive = Heartbeat.objects.filter(seen_at__gt=Now() - ALIVE_FOR)
    return {"worker", "beat"} <= set(alive.values_list("kind", flat=True))
