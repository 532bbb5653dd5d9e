"""What the admin's forms of accounts share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts import audit


def form_changes(form: Any) -> audit.Changes:
    """What a form changed of the row that it is for, as the audit log tells it."""
    return {
        name: (
            _audited_value(name, form.initial.get(name)),
            _audited_value(name, value),
        )
        for name, value in form.cleaned_data.items()
        if name in form.changed_data
    }


def _audited_value(name: str, value: Any) -> Any:
    if "password" in name or "secret" in name:
        return audit.REDACTED
    if isinstance(value, bool | int | None):
        return value
    # Those that are related, such as groups.
    if isinstance(value, QuerySet | list):
        return sorted(map(str, value))
    return audit.mask_if_url(str(value))
