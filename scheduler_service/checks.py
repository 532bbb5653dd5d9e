"""System checks of our own settings: a bad number is found at the start."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from accounts import encryption

# (setting, the least it may be, why)
LEAST = (
    ("SCHEDULER_MIN_FREQUENCY", 1, "a schedule needs at least a second between fires"),
    ("SCHEDULER_MAX_BODY_BYTES", 1, "requests have bodies"),
    ("SCHEDULER_LOOK_AHEAD", 0, "dispatch cannot look back"),
    ("SCHEDULER_REQUEST_TIMEOUT", 0.001, "a request takes time"),
    # A worker prolongs its leases four times as often, and a database may pause.
    ("SCHEDULER_LEASE", 1, "a shorter lease is lost at every hiccup"),
    ("SCHEDULER_MAX_IN_FLIGHT", 1, "a worker sends at least one request"),
    ("SCHEDULER_MAX_PER_TENANT", 1, "a tenant's runs are sent one at a time at least"),
    ("SCHEDULER_MAX_WAITING", 1, "a run is made before it is sent"),
    ("SCHEDULER_MAX_PER_HOST", 1, "a target gets at least one request"),
    ("SCHEDULER_RETENTION_DAYS", 1, "history is kept for a day at least"),
    ("DATABASE_STATEMENT_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("DATABASE_LOCK_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("DATABASE_IDLE_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("PROBE_PATIENCE", 1, "a process that is busy is not stuck"),
    ("METRICS_PORT", 0, "ports are numbers, and 0 is none"),
    ("SCHEDULER_MISFIRE_GRACE", 1, "a beat that is restarted takes a moment"),
    (
        "SCHEDULER_AUDIT_RETENTION_DAYS",
        1,
        "who changed what is kept for a day at least",
    ),
    ("SCHEDULER_MAX_REQUEST_TIMEOUT", 1, "a request takes time"),
    ("SCHEDULER_MAX_BULK_BYTES", 1, "requests have bodies"),
)


OURS = "SCHEDULER_"
# What the command `scheduler` reads, which may share an environment with the service.
OF_THE_CLIENT = frozenset({"SCHEDULER_URL", "SCHEDULER_TOKEN", "SCHEDULER_SECRET"})
# What Kubernetes tells every container of a Service named "scheduler".
KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP)(_\w+)?)?$")


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(f"{name} is less than {least}: {why}.", id=f"scheduler.E{number:03}")
        for number, (name, least, why) in enumerate(LEAST, start=1)
        if getattr(settings, name) < least
    ]


def check_environment(**kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is no setting, and does nothing.{_nearest(name)}",
            id="scheduler.W002",
        )
        for name in sorted(os.environ)
        if name.startswith(OURS) and not _is_known(name)
    ]


def _is_known(name: str) -> bool:
    known = settings.KNOWN_VARIABLES | OF_THE_CLIENT
    return name in known or KUBERNETES.search(name) is not None


def _nearest(name: str) -> str:
    # Without what they all begin with, which would make them all alike.
    known = {each.removeprefix(OURS): each for each in settings.KNOWN_VARIABLES}
    found = difflib.get_close_matches(name.removeprefix(OURS), known, n=1)
    return f" Is {known[found[0]]} meant?" if found else ""


def check_secrets(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    """Asked where the database is: by `migrate`, and by `check --database default`."""
    unreadable = encryption.unreadable() if databases else 0
    if not unreadable:
        return []
    return [
        Warning(
            f"SECRET_KEY opens {unreadable} of the stored secrets no more.",
            hint="Put the key they were encrypted with into SECRET_KEY_FALLBACKS. "
            "Until then requests of their tenants leave unsigned.",
            id="scheduler.W001",
        )
    ]
