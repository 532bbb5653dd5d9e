"""`manage.py probe web|beat|worker`: is what runs on this machine at work? 0 is yes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_service.local.ports import read_metrics_port
from scheduler_service.management.own_web import reachable_host
from tasks_api.monitoring.exporter import MAX_PORTS_TRIED

# Seconds; a healthy process answers at once, because it asks no other.
PROBE_TIMEOUT = 5.0


# In the place of an HTTP status: the process accepts a connection and does not answer.
NO_STATUS = 0


class ProbeAnswer(NamedTuple):
    port: int
    status: int
    body: dict[str, str]


class Command(BaseCommand):
    help = "Ask a process on this machine whether it is at work; exits with 1 if not."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=["web", "beat", "worker"])
        parser.add_argument(
            "--port",
            type=int,
            help="The port to ask, if several processes of this kind run.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind, port = options["kind"], options["port"]
        first = settings.METRICS_PORT or read_metrics_port()
        if kind == "web":
            self._probe_web(port or settings.PORT)
        elif port or first:
            self._probe_process(
                kind, [port] if port else range(first, first + MAX_PORTS_TRIED)
            )
        else:
            raise CommandError(f"METRICS_PORT must be set for a {kind} to be asked.")

    def _probe_web(self, port: int) -> None:
        answer = fetch_health(port)
        # Any other answer will do, also a refusal of the Host header.
        if answer is None or answer.status in (NO_STATUS, *range(500, 600)):
            raise CommandError(f"web does not answer on port {port}.")
        self.stdout.write("web is at work.")

    def _probe_process(self, kind: str, ports: Iterable[int]) -> None:
        found = [answer for each in ports if (answer := fetch_health(each))]
        # Other programs answer something else, and a frozen process nothing.
        found = [
            a for a in found if a.body.get("kind") == kind or a.status == NO_STATUS
        ]
        if not found:
            raise CommandError(f"No {kind} answers on this machine.")
        for answer in found:
            if answer.status != 200:
                reason = answer.body.get("reason", "It does not answer.")
                raise CommandError(f"{kind} on port {answer.port}: {reason}")
        remarks = {a.body["remark"] for a in found if "remark" in a.body}
        self.stdout.write(" ".join([f"{kind} is at work.", *sorted(remarks)]))


def fetch_health(port: int) -> ProbeAnswer | None:
    """What a process answers about itself; None if no process listens on the port.

    The status is NO_STATUS if it listens and does not answer, because it is frozen.
    """
    connection = http.client.HTTPConnection(
        reachable_host().strip("[]"), port, timeout=PROBE_TIMEOUT
    )
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return ProbeAnswer(port, response.status, _read(response.read()))
    except (OSError, http.client.HTTPException):
        return ProbeAnswer(port, NO_STATUS, {})
    finally:
        connection.close()


def _read(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
