"""Set the URLs, the shared secret and the limits of a tenant."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand, read_secret


class Command(AccountCommand):
    help = "Configure a tenant, which is created if absent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        for name, metavar in (
            ("--callback-url", "URL"),
            ("--notification-url", "URL"),
            ("--shared-secret", "SECRET"),
        ):
            parser.add_argument(
                name,
                metavar=metavar,
                help="An empty value clears it; - reads it from stdin.",
            )
        parser.add_argument(
            "--max-in-flight",
            metavar="N",
            type=int,
            help="Runs of the tenant that one worker holds; 0 for the setting.",
        )
        parser.add_argument(
            "--retention-days",
            metavar="N",
            type=int,
            help="Days that its history is kept; 0 for the setting.",
        )
        parser.add_argument(
            "--plan",
            metavar="NAME",
            help="The plan whose quotas it has; an empty name takes it away.",
        )

    def handle(
        self,
        *args: Any,
        tenant: str,
        callback_url: str | None,
        notification_url: str | None,
        shared_secret: str | None,
        max_in_flight: int | None,
        retention_days: int | None,
        plan: str | None,
        **options: Any,
    ) -> str:
        callback, notification, secret = (
            None if given is None else read_secret(given)
            for given in (callback_url, notification_url, shared_secret)
        )
        configured, created = services.configure_tenant(
            tenant,
            callback_url=callback,
            notification_url=notification,
            shared_secret=secret,
            max_in_flight=max_in_flight,
            retention_days=retention_days,
            plan=plan,
        )
        verb = "created and configured" if created else "configured"
        return f"The tenant {configured} is {verb}."
