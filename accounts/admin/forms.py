"""The changes of an admin form, for the audit log."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts import audit


def form_changes(form: Any) -> audit.Changes:
    """The fields that a form changed, with secrets redacted."""
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
    # Related rows, such as groups.
    if isinstance(value, QuerySet | list):
        return sorted(map(str, value))
    return audit.mask_if_url(str(value))
