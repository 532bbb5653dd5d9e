"""Print a new token of a user, and nothing else."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser
from django.db import transaction

from accounts import services
from accounts.management.base import AccountCommand, find_tenant
from accounts.management.durations import parse_duration
from accounts.models import Scope, Tenant, User
from scheduler_service.db import clock
from tasks_api.domain.bound_fields import read_bounds
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.exceptions import InvalidTask


class Command(AccountCommand):
    help = "Print one new token; the tenant and the user are created if absent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--user", required=True)
        parser.add_argument(
            "--existing",
            action="store_true",
            help="Create neither; refuse an unknown name.",
        )
        parser.add_argument("--name", default="", help="What the token is for.")
        parser.add_argument(
            "--scope",
            choices=Scope.values,
            default=Scope.ADMIN,
            help="What it may do; by default everything that its user may do.",
        )
        parser.add_argument(
            "--bounds",
            type=parse_bounds,
            metavar="JSON",
            help="What it can do at most, such as "
            """'{"hosts": ["api.example.com"], "runs_per_day": 100}'.""",
        )
        expiry = parser.add_mutually_exclusive_group()
        expiry.add_argument(
            "--expires",
            type=parse_duration,
            metavar="DURATION",
            help="Its lifetime, such as 90d.",
        )
        expiry.add_argument("--expires-in-days", type=int, metavar="DAYS")

    def handle(
        self,
        *args: Any,
        tenant: str,
        user: str,
        existing: bool,
        name: str,
        scope: str,
        expires: timedelta | None,
        expires_in_days: int | None,
        bounds: Bounds | None,
        **options: Any,
    ) -> str:
        expires_at = _expiry(expires, expires_in_days)
        with transaction.atomic():
            owner = self._owner(tenant, user, existing=existing)
            return services.issue_token(
                owner,
                name=name,
                expires_at=expires_at,
                scope=Scope(scope),
                bounds=bounds,
            )

    def _owner(self, tenant: str, user: str, *, existing: bool) -> User:
        if existing:
            return services.find_user(user, tenant=find_tenant(tenant).name)
        has_tenant = Tenant.objects.filter(name=tenant).exists()
        has_user = User.objects.filter(tenant__name=tenant, name=user).exists()
        owner = services.provision_user(tenant, user)
        # Standard output holds nothing but the token.
        if not has_tenant:
            self.stderr.write(f"The tenant {tenant} is new.")
        if not has_user:
            self.stderr.write(f"The user {user} of {tenant} is new.")
        return owner


def parse_bounds(text: str) -> Bounds:
    """The bounds of a token as JSON; a type for `add_argument`, which names the field."""
    try:
        return read_bounds(json.loads(text))
    except ValueError as error:
        raise ArgumentTypeError(f"this is no JSON: {error}") from None
    except InvalidTask as error:
        raise ArgumentTypeError(f"{error}.") from None


def _expiry(expires: timedelta | None, days: int | None) -> datetime | None:
    try:
        lifetime = expires if days is None else timedelta(days=days)
        if lifetime is None:
            return None
        if lifetime <= timedelta():
            raise CommandError("A token has to live for a while.")
        return clock.now() + lifetime
    except OverflowError:
        raise CommandError("No calendar goes that far.") from None
