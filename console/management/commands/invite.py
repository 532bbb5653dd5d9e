"""Print a link that lets one person into a tenant, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import transaction
from django.urls import reverse

from accounts import services
from accounts.audit import COMMAND_LINE
from accounts.management.base import AccountCommand
from accounts.management.durations import parse_duration
from accounts.models import Role, Tenant, User
from scheduler_service.db import clock


class Command(AccountCommand):
    help = (
        "Print a link with which one person chooses a password, once. The tenant is "
        "created if absent."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True)
        parser.add_argument(
            "--user",
            default="",
            help="Their name in the tenant. A user who is there chooses a new password; "
            "without it the person chooses a name.",
        )
        parser.add_argument("--role", choices=Role.values, default=Role.ADMIN)
        parser.add_argument(
            "--expires",
            type=parse_duration,
            metavar="DURATION",
            help="How long the link works, such as 12h; by default "
            "SCHEDULER_INVITATION_DAYS.",
        )

    @transaction.atomic
    def handle(
        self,
        *args: Any,
        tenant: str,
        user: str,
        role: str,
        expires: timedelta | None,
        **options: Any,
    ) -> str:
        given, is_new = services.configure_tenant(tenant)
        if is_new:
            self.stderr.write(f"The tenant {tenant} is new.")
        secret = _create(given, user, Role(role), expires)
        return _base_url() + reverse("invitation", args=[secret])


def _create(tenant: Tenant, name: str, role: Role, expires: timedelta | None) -> str:
    now, by = clock.now(), COMMAND_LINE.name
    user = User.objects.filter(tenant=tenant, name=name).first() if name else None
    if user is not None:
        _, secret = services.invite_user(
            user, role=role, now=now, by=by, lifetime=expires
        )
    else:
        _, secret = services.create_invitation(
            tenant, role=role, name=name, now=now, by=by, lifetime=expires
        )
    return secret


def _base_url() -> str:
    """Where people reach web: what the settings say, or this machine."""
    if settings.SCHEDULER_PUBLIC_URL:
        return str(settings.SCHEDULER_PUBLIC_URL).rstrip("/")
    # An address that means all of them is none to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 (replaced)
    netloc = f"[{host}]" if ":" in host else host
    return f"http://{netloc}:{settings.PORT}"
