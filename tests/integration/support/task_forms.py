"""What the form of a task sends."""

from __future__ import annotations

from typing import Any

from django.test import Client

NEW = "/app/tasks/new/"


def edit_path(task_id: object) -> str:
    return f"/app/tasks/{task_id}/edit/"


def values_of(browser: Client, path: str) -> dict[str, Any]:
    """What the form sends if nobody edits it, with its rows."""
    form = browser.get(path).context["form"]
    return form_values(form)


def form_values(form: Any) -> dict[str, Any]:
    """What a form that is shown sends. Unchecked boxes send nothing."""
    fields = [*form, *(field for row in form.rows for field in row)]
    values = {field.html_name: field.value() for field in fields}
    return {
        name: value
        for name, value in values.items()
        if value not in (None, False) and value != []
    }
