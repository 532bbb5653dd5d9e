"""The user and the password of Flower, from its environment or generated in a file."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.management.base import CommandError

from scheduler_service.local import state_files


def basic_auth() -> str:
    """FLOWER_BASIC_AUTH, or a password that is generated once and stored."""
    given: str = settings.FLOWER_BASIC_AUTH
    if given:
        if not all(name and password for name, _, password in _pairs(given)):
            raise CommandError("FLOWER_BASIC_AUTH must be user:password.")
        return given
    path = settings.STATE_DIR / "flower_basic_auth"
    try:
        return state_files.load_or_create_secret(
            path, lambda: f"flower:{secrets.token_urlsafe(12)}"
        )
    except state_files.LocalSetupError as error:
        raise CommandError(str(error)) from error


def _pairs(given: str) -> list[tuple[str, str, str]]:
    return [pair.partition(":") for pair in given.split(",")]
