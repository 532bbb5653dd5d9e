"""Encrypt every stored secret with the current SECRET_KEY."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import encryption
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Encrypt with SECRET_KEY the secrets that only SECRET_KEY_FALLBACKS decrypt, and "
        "credentials that are not encrypted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; fail if there is work to do.",
        )

    def handle(self, *args: Any, check: bool, **options: Any) -> str:
        found = encryption.reencrypt(write=not check)
        opened = found.current + found.former + found.clear
        if found.unreadable:
            raise CommandError(
                f"{found.unreadable} secrets are opened by no key; {opened} are."
            )
        if check and found.former:
            raise CommandError(f"{found.former} secrets want a former key.")
        if check and found.clear:
            raise CommandError(f"{found.clear} URLs have their credentials in clear.")
        return f"SECRET_KEY opens all {opened} secrets."
