"""What the admin's forms of accounts share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts import audit


def changes_of(form: Any) -> audit.Changes:
    """What a form changed of the row that it is for, as the audit log tells it."""
    return {
        name: (_told(name, form.initial.get(name)), _told(name, value))
        for name, value in form.cleaned_data.items()
        if name in form.changed_data
    }


def _told(name: str, value: Any) -> Any:
    if "password" in name or "secret" in name:
        return audit.REDACTED
    if isinstance(value, bool | int | None):
        return value
    # Those that are related, such as groups.
    if isinstance(value, QuerySet | list):
        return sorted(map(str, value))
    return audit.shown(str(value))
