"""`manage.py run`: the whole service on this machine, with an account to try it."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from redis import RedisError

from scheduler_service.local.embedded import Unavailable, secret
from scheduler_service.management.commands.flower import basic_auth
from scheduler_service.management.commands.migrate import wait_for_database
from scheduler_service.management.commands.services import servers
from scheduler_service.process.supervisor import (
    Program,
    Supervisor,
    read_procfile,
    spawn,
)
from scheduler_service.redis.connections import connected
from tasks_api.models import Heartbeat
from tasks_api.monitoring.heartbeats import ALIVE_FOR

APP = ("web", "worker", "beat", "flower")
# A cold start on a busy machine; a warm one takes a few seconds.
PATIENCE = 120.0
# The port at which workers and beats are looked at, unless that is taken.
METRICS_PORT = 9400


class Command(BaseCommand):
    help = "Run everything on this machine: services, web, worker, beat and Flower."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        check_state_dir(settings.STATE_DIR)
        try:
            with alone(settings.STATE_DIR):
                self._check()
                self._run()
        except Unavailable as error:
            raise CommandError(str(error)) from error

    def _check(self) -> None:
        for server in servers():
            server.refuse_if_taken()
        check_port(settings.HOST, settings.PORT, "PORT")
        check_port(settings.HOST, settings.FLOWER_PORT, "FLOWER_PORT")
        if not settings.EMBEDDED_POSTGRES:
            wait_for_database(connection)
        if not settings.EMBEDDED_REDIS:
            check_redis(settings.REDIS_URL)

    def _run(self) -> None:
        commands = read_procfile(settings.BASE_DIR / "Procfile")
        demo = settings.DEVELOPMENT
        echo_port = free_port(settings.PORT + 1)
        start = partial(
            _program, commands, _environment(echo_port, keep_metrics_port())
        )

        with Supervisor(self.stdout, width=max(map(len, commands))) as supervisor:
            services = start("services")
            supervisor.start(services)
            self._expect(
                supervisor, lambda: migrated() or services.has_failed, "services"
            )
            if services.has_failed:
                raise CommandError("The services could not be started; see above.")
            if supervisor.stopping:
                return
            password = provision_admin() if demo else ""
            connection.close()
            # Echo goes last when everything stops: the worker still finishes requests.
            supervisor.start(*([start("echo")] if demo else []))
            supervisor.start(*map(start, APP))
            self._expect(supervisor, web_answers, "web")
            self._expect(supervisor, processes_seen, "worker and beat", fatal=False)
            if not supervisor.stopping:
                self._welcome(echo_port, password)
            connection.close()
            supervisor.run()
            self.stdout.write("Stopping; Ctrl-C again stops at once.")

    def _expect(
        self,
        supervisor: Supervisor,
        condition: Callable[[], bool],
        what: str,
        *,
        fatal: bool = True,
    ) -> None:
        if supervisor.wait_until(condition, timeout=PATIENCE) or supervisor.stopping:
            return
        complaint = f"No sign of life from {what} within {PATIENCE:.0f} s; see above."
        if fatal:
            raise CommandError(complaint)
        self.stderr.write(complaint)

    def _welcome(self, echo_port: int, password: str) -> None:
        if settings.DEVELOPMENT:
            text = DEMO.format(
                **_places(), password=password, token=demo_token(), echo=echo_port
            )
        else:
            text = PRODUCTION.format(**_places())
        self.stdout.write(text)
        self.stdout.flush()


PLACES = """
The service is ready.

  API      {api}/tasks/
  Docs     {api}/docs/
  Health   {api}/readyz
  Flower   {flower}/  (user and password: {flower_auth})
  Admin    {api}/admin/"""

PRODUCTION = (
    PLACES
    + """

With SCHEDULER_ENV=production there is no demo account and no echo target
(SCHEDULER_ALLOW_PRIVATE_TARGETS={private}).
"""
)

DEMO = (
    PLACES
    + """  (user admin, password: {password})
  Token    {token}  (tenant demo, user demo)

Paste one of these into another terminal; the requests show up below as "echo" lines.
The first makes a task that runs once, in five seconds:

curl -sS {api}/tasks/ -H 'Authorization: Bearer {token}' -d '{{"task_type": "one_time", "run_datetime": "'$(date -u -d '+5 seconds' +%FT%TZ)'", "url": "http://127.0.0.1:{echo}/once", "post_data": {{"hello": "world"}}}}'

The second makes one that runs every four seconds, for a minute:

curl -sS {api}/tasks/ -H 'Authorization: Bearer {token}' -d '{{"task_type": "periodic", "frequency": 4, "start_datetime": "'$(date -u -d '+4 seconds' +%FT%TZ)'", "end_datetime": "'$(date -u -d '+64 seconds' +%FT%TZ)'", "url": "http://127.0.0.1:{echo}/tick", "post_data": {{"hello": "again"}}}}'

Private addresses, such as the echo target's, are allowed because this is a trial
(SCHEDULER_ALLOW_PRIVATE_TARGETS={private}). Ctrl-C stops everything.
"""
)


def _places() -> dict[str, str]:
    host = reachable_host()
    return {
        "api": f"http://{host}:{settings.PORT}",
        "flower": f"http://{host}:{settings.FLOWER_PORT}",
        "flower_auth": basic_auth(),
        "private": private_targets(),
    }


def reachable_host() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 (replaced)
    return f"[{host}]" if ":" in host else host


def private_targets() -> str:
    return os.environ.get("SCHEDULER_ALLOW_PRIVATE_TARGETS") or str(
        int(settings.DEVELOPMENT)
    )


def check_state_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written ({error.strerror}): set SCHEDULER_STATE_DIR to a "
            "directory that can."
        ) from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock on the directory, which lasts as long as this process at most."""
    with (path / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"The service already runs on {path}: stop it first, or set "
                "SCHEDULER_STATE_DIR, PORT and FLOWER_PORT to others."
            ) from None
        yield


def check_port(host: str, port: int, variable: str) -> None:
    try:
        _bind(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "not a port number"
        raise CommandError(
            f"Port {port} of {host} cannot be used ({reason}): set {variable} to another one."
        ) from error


def free_port(wanted: int) -> int:
    try:
        return _bind("127.0.0.1", wanted)
    except (OSError, OverflowError):
        return _bind("127.0.0.1", 0)


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the real server does: a port that is only cooling down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def check_redis(url: str) -> None:
    try:
        with connected(url, timeout=5) as client:
            client.ping()
    except (RedisError, ValueError, OSError) as error:
        raise CommandError(
            f"The Redis of REDIS_URL does not answer: {error}"
        ) from error


def keep_metrics_port() -> int:
    """The first of the ports at which workers and beats are probed, told to `probe`.

    Production opens no port that nobody has asked for.
    """
    port: int = settings.METRICS_PORT
    if settings.DEVELOPMENT and not port:
        port = free_port(METRICS_PORT)
    metrics_port_file().write_text(f"{port}\n")
    return port


def metrics_port_file() -> Path:
    path: Path = settings.STATE_DIR / "metrics_port"
    return path


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
        # For who wants to kill this one, and nobody else's.
        (settings.STATE_DIR / f"{name}.pid").write_text(f"{process.pid}\n")
        return process

    return Program(name, start)


def migrated() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        return False


def web_answers() -> bool:
    return all(_status(path) == 200 for path in ("/healthz", "/readyz"))


def processes_seen() -> bool:
    alive = Heartbeat.objects.filter(seen_at__gt=Now() - ALIVE_FOR)
    return {"worker", "beat"} <= set(alive.values_list("kind", flat=True))


def _status(path: str, token: str = "") -> int:
    """What the web process answers, and 0 if it does not."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://{reachable_host()}:{settings.PORT}{path}"
    request = urllib.request.Request(url, headers=headers)
    # No proxy from the environment: this is our own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def provision_admin() -> str:
    """Make sure that `admin` can log in; returns the password."""
    kept = settings.STATE_DIR / "admin_password"
    lost = not kept.exists()
    password = secret(kept, lambda: secrets.token_urlsafe(12))
    user, created = get_user_model().objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    if created or lost:
        user.set_password(password)
        user.save(update_fields=["password"])
    return password if user.check_password(password) else "the one you chose"


def demo_token() -> str:
    """The kept token, or a new one if the API no longer takes it."""
    kept = settings.STATE_DIR / "demo_token"
    token = secret(kept, _issue_token)
    if _status("/tasks/?limit=1", token) == 401:
        kept.unlink()
        token = secret(kept, _issue_token)
    return token


def _issue_token() -> str:
    out = StringIO()
    call_command(
        "issue_token",
        "--tenant",
        "demo",
        "--user",
        "demo",
        stdout=out,
        stderr=StringIO(),
    )
    return out.getvalue().strip()
