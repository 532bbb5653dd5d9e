"""System checks of our settings, so that a wrong setting is found at the start."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning

from accounts import encryption
from accounts.roles import parse_domains
from accounts.throttling import UNGUESSABLE_LENGTH
from scheduler_service.process import time_zones
from tasks_api.domain import guard

# (setting, minimum, why)
MINIMUMS = (
    ("SCHEDULER_MIN_FREQUENCY", 1, "a schedule needs at least a second between fires"),
    ("SCHEDULER_MAX_BODY_BYTES", 1, "requests have bodies"),
    ("SCHEDULER_LOOK_AHEAD", 0, "a bell for the past is too late"),
    ("SCHEDULER_REQUEST_TIMEOUT", 0.001, "a request takes time"),
    # A worker prolongs its leases four times as often, and a database may pause.
    ("SCHEDULER_LEASE", 1, "a shorter lease is lost at every hiccup"),
    ("SCHEDULER_MAX_IN_FLIGHT", 1, "a worker sends at least one request"),
    ("SCHEDULER_MAX_PER_TENANT", 1, "a tenant's runs are sent one at a time at least"),
    ("SCHEDULER_MAX_PER_HOST", 1, "a target gets at least one request"),
    ("SCHEDULER_RETENTION_DAYS", 1, "history is kept for a day at least"),
    ("DATABASE_STATEMENT_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("DATABASE_LOCK_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("DATABASE_IDLE_TIMEOUT", 0, "a limit lies in the future, and 0 is none"),
    ("PROBE_PATIENCE", 1, "a process that is busy is not stuck"),
    ("METRICS_PORT", 0, "ports are numbers, and 0 is none"),
    ("SCHEDULER_MISFIRE_GRACE", 1, "a worker that is restarted takes a moment"),
    (
        "SCHEDULER_AUDIT_RETENTION_DAYS",
        1,
        "who changed what is kept for a day at least",
    ),
    ("SCHEDULER_MAX_REQUEST_TIMEOUT", 1, "a request takes time"),
    ("SCHEDULER_MAX_BULK_BYTES", 1, "requests have bodies"),
    ("TRUSTED_PROXIES", 0, "so many stand in front of web"),
    ("SCHEDULER_MAX_FAILED_LOGINS", 1, "people mistype"),
    ("SCHEDULER_MAX_FAILED_CALLS", 1, "clients have old tokens"),
    ("SCHEDULER_MIN_SECRET_LENGTH", 1, "an empty secret is none"),
    ("SESSION_COOKIE_AGE", 60, "who logs in wants to do something"),
    ("SCHEDULER_LOOKUP_TIMEOUT", 0.1, "name servers need a moment to answer"),
    ("SCHEDULER_MIN_CRON_INTERVAL", 1, "a cron expression fires once a second at most"),
    ("SCHEDULER_MAX_BYTES_IN_FLIGHT", 1, "a worker sends at least one request"),
    ("SCHEDULER_MAX_BODY_VALUES", 1, "a body is a value"),
    ("SCHEDULER_BODY_TIMEOUT", 0.1, "a body takes time to arrive"),
    ("SCHEDULER_INVITATION_DAYS", 1, "people read their mail once a day"),
)

LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}


SETTING_PREFIX = "SCHEDULER_"
# Variables of the command `scheduler`, which may share the environment of the service.
CLIENT_VARIABLES = frozenset({"SCHEDULER_URL", "SCHEDULER_TOKEN", "SCHEDULER_SECRET"})
# Variables that Kubernetes sets in every container for a Service named "scheduler".
KUBERNETES_VARIABLE = re.compile(
    r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP)(_\w+)?)?$"
)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(f"{name} is less than {minimum}: {why}.", id=f"scheduler.E{number:03}")
        for number, (name, minimum, why) in enumerate(MINIMUMS, start=1)
        if getattr(settings, name) < minimum
    ]


def check_shared_secret(**kwargs: Any) -> list[CheckMessage]:
    """SECRET, which `migrate` gives to the tenant "default"."""
    if not 0 < len(settings.SECRET) < UNGUESSABLE_LENGTH:
        return []
    kind = Warning if settings.DEVELOPMENT else Error
    return [
        kind(
            f"SECRET has {len(settings.SECRET)} characters, and so may be guessed.",
            hint=f"Use {UNGUESSABLE_LENGTH} or more: openssl rand -hex 24.",
            id="scheduler.W002",
        )
    ]


def check_open_metrics(**kwargs: Any) -> list[CheckMessage]:
    is_open = settings.METRICS_PORT > 0 and not settings.METRICS_TOKEN
    if not is_open or settings.HOST in LOOPBACK_HOSTS:
        return []
    return [
        Warning(
            "METRICS_PORT answers whoever reaches it, because METRICS_TOKEN is not set.",
            hint=f"Set METRICS_TOKEN, or let HOST ({settings.HOST}) be loopback.",
            id="scheduler.W004",
        )
    ]


def check_time_zones(**kwargs: Any) -> list[CheckMessage]:
    """Warn of old rules. `check --deploy` reports the version in any case."""
    rules = time_zones.use_newest_rules()
    if rules.sort_key >= time_zones.PACKAGED_RULES.sort_key:
        return []
    return [
        Warning(
            f"The rules of time zones are of IANA {rules.version}, by {rules.source}, and "
            f"older than those of the package tzdata, {time_zones.PACKAGED_RULES.version}.",
            hint="Leave PYTHONTZPATH alone, and the newer ones count.",
            id="scheduler.W003",
        )
    ]


def check_networks(**kwargs: Any) -> list[CheckMessage]:
    try:
        guard.networks(settings.SCHEDULER_DENIED_NETWORKS)
    except ValueError as error:
        return [
            Error(
                f"SCHEDULER_DENIED_NETWORKS is no list of networks: {error}.",
                hint="Such as 203.0.113.0/24,2001:db8::/32, with commas between.",
                id="scheduler.E100",
            )
        ]
    return []


def check_single_sign_on(**kwargs: Any) -> list[CheckMessage]:
    try:
        domains = parse_domains(settings.OIDC_DOMAINS)
    except ValueError as error:
        return [
            Error(
                f"OIDC_DOMAINS cannot be used: {error}.",
                hint="Such as example.org=acme:member, with commas between.",
                id="scheduler.E101",
            )
        ]
    if bool(settings.OIDC_ISSUER) == bool(domains):
        return []
    return [
        Warning(
            "OIDC_ISSUER lets nobody in without OIDC_DOMAINS, nor the other way round.",
            id="scheduler.W007",
        )
    ]


def check_cells(**kwargs: Any) -> list[CheckMessage]:
    if not settings.DIRECTORY_URL:
        return []
    problems: list[CheckMessage] = []
    if not settings.SCHEDULER_CELL:
        problems += [
            Error(
                "DIRECTORY_URL is set, and SCHEDULER_CELL does not say which cell this is.",
                id="scheduler.E102",
            )
        ]
    if settings.SCHEDULER_ANONYMOUS_TENANT:
        problems += [
            Error(
                "SCHEDULER_ANONYMOUS_TENANT cannot be used with DIRECTORY_URL: a door sends "
                "requests without a credential to any cell.",
                id="scheduler.E103",
            )
        ]
    return problems


def report_time_zones(**kwargs: Any) -> list[CheckMessage]:
    rules = time_zones.use_newest_rules()
    return [
        Info(
            f"The rules of time zones are of IANA {rules.version}, by {rules.source}.",
            id="scheduler.I001",
        )
    ]


def check_environment(**kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is no setting, and does nothing.{_suggest(name)}",
            id="scheduler.W005",
        )
        for name in sorted(os.environ)
        if name.startswith(SETTING_PREFIX) and not _is_known(name)
    ]


def _is_known(name: str) -> bool:
    known = settings.KNOWN_VARIABLES | CLIENT_VARIABLES
    return name in known or KUBERNETES_VARIABLE.search(name) is not None


def _suggest(name: str) -> str:
    # The prefix, which all names have, would make them all similar.
    known = {
        each.removeprefix(SETTING_PREFIX): each for each in settings.KNOWN_VARIABLES
    }
    found = difflib.get_close_matches(name.removeprefix(SETTING_PREFIX), known, n=1)
    return f" Is {known[found[0]]} meant?" if found else ""


def check_secrets(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    """Run with a database only: by `migrate`, and by `check --database default`."""
    found = encryption.count_secrets() if databases else None
    messages: list[CheckMessage] = []
    if found and found.unreadable:
        messages += [
            Warning(
                f"SECRET_KEY opens {found.unreadable} of the stored secrets no more.",
                hint="Put the key they were encrypted with into SECRET_KEY_FALLBACKS. "
                "Until then requests of their tenants leave unsigned.",
                id="scheduler.W001",
            )
        ]
    if found and found.clear:
        messages += [
            Warning(
                f"{found.clear} stored URLs have their credentials in clear.",
                hint="Once no process of the release before runs any more, run "
                "manage.py reencrypt_secrets.",
                id="scheduler.W006",
            )
        ]
    return messages


# Run at the start of every process, and by `manage.py check`.
CHECKS = (
    check_settings,
    check_environment,
    check_shared_secret,
    check_open_metrics,
    check_networks,
    check_single_sign_on,
    check_cells,
    check_time_zones,
)
