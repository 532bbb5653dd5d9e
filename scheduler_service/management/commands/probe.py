"""`manage.py probe web|beat|worker`: is what runs on this machine at work? 0 is yes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_service.management.commands.run import (
    metrics_port_file,
    reachable_host,
)
from tasks_api.monitoring.exporter import MAX_PORTS_TRIED

# Seconds that a sound process never needs for an answer that asks nobody.
TIMEOUT = 5.0


# No status of HTTP.
SILENT = 0


class Answer(NamedTuple):
    port: int
    status: int
    body: dict[str, str]


class Command(BaseCommand):
    help = "Ask a process on this machine whether it is at work; exits with 1 if not."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=["web", "beat", "worker"])
        parser.add_argument(
            "--port", type=int, help="Its port, where several of a kind run."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind, port = options["kind"], options["port"]
        first = settings.METRICS_PORT or port_of_a_trial()
        if kind == "web":
            self._probe_web(port or settings.PORT)
        elif port or first:
            self._probe_process(
                kind, [port] if port else range(first, first + MAX_PORTS_TRIED)
            )
        else:
            raise CommandError(f"METRICS_PORT must be set for a {kind} to be asked.")

    def _probe_web(self, port: int) -> None:
        answer = ask(port)
        # Which names it answers to is another question: it answers.
        if answer is None or answer.status in (SILENT, *range(500, 600)):
            raise CommandError(f"web does not answer on port {port}.")
        self.stdout.write("web is at work.")

    def _probe_process(self, kind: str, ports: Iterable[int]) -> None:
        found = [answer for each in ports if (answer := ask(each))]
        # Whoever else listens there says something else; one that is frozen, nothing.
        found = [a for a in found if a.body.get("kind") == kind or a.status == SILENT]
        if not found:
            raise CommandError(f"No {kind} answers on this machine.")
        for answer in found:
            if answer.status != 200:
                reason = answer.body.get("reason", "It does not answer.")
                raise CommandError(f"{kind} on port {answer.port}: {reason}")
        remarks = {a.body["remark"] for a in found if "remark" in a.body}
        self.stdout.write(" ".join([f"{kind} is at work.", *sorted(remarks)]))


def port_of_a_trial() -> int:
    """The METRICS_PORT that `manage.py run` chose for its processes; 0 if none."""
    try:
        return int(metrics_port_file().read_text())
    except (OSError, ValueError):
        return 0


def ask(port: int) -> Answer | None:
    """What a process says of itself; None if nothing listens there.

    One that has a port and says nothing, because it is frozen, is SILENT.
    """
    connection = http.client.HTTPConnection(
        reachable_host().strip("[]"), port, timeout=TIMEOUT
    )
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return Answer(port, response.status, _read(response.read()))
    except (OSError, http.client.HTTPException):
        return Answer(port, SILENT, {})
    finally:
        connection.close()


def _read(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
