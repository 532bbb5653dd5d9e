"""The audit log of a tenant: who changed what, when, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.models import AuditEntry
from console.pages import MemberRequest, for_admins
from tasks_api.services import object_names

# Objects that an entry names; it counts the others.
MAX_NAMED_OBJECTS = 5
_EMPTY: tuple[Any, ...] = (None, "", [])
# Where the objects of a kind have a page.
_PAGES = {
    "task": "/app/tasks/{}/",
    "schedule": "/app/tasks/{}/",
    "run": "/app/runs/{}/",
}


class AuditFilterForm(forms.Form):
    """The filters, under the names that the API has for them."""

    actor = forms.CharField(required=False, max_length=150)
    action = forms.CharField(required=False, max_length=40)
    object = forms.CharField(required=False, max_length=255)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("from", "to"):
            widget = forms.DateTimeInput(attrs={"type": "datetime-local"})
            self.fields[name] = forms.DateTimeField(
                required=False, label=f"{name.title()} (UTC)", widget=widget
            )
        examples = {"actor": "ann@acme", "action": "task.pause or task."}
        for name, text in examples.items():
            self.fields[name].widget.attrs["placeholder"] = text


class ObjectLink(NamedTuple):
    id: str
    name: str
    url: str


class Change(NamedTuple):
    """A field, and its values before and after in words; a new one has no `before`."""

    field: str
    before: str
    after: str


class EntryRow(NamedTuple):
    entry: AuditEntry
    objects: list[ObjectLink]
    more_objects: int
    changes: list[Change]


@for_admins
@require_safe
def audit_log(request: MemberRequest) -> HttpResponse:
    form = AuditFilterForm(request.GET)
    filters = form.cleaned_data if form.is_valid() else {}
    page = _find_page(request, filters)
    context = {
        "form": form,
        "rows": _make_rows(request, page),
        "after": page.after,
        "is_filtered": any(filters.values()),
        "api_url": _api_url(request, filters),
    }
    return render(request, "console/settings/audit.html", context)


def _find_page(request: MemberRequest, filters: Mapping[str, Any]) -> audit.EntryPage:
    return audit.list_entries(
        request.tenant.pk,
        after=_cursor(request),
        actor=filters.get("actor", ""),
        action=filters.get("action", ""),
        object_id=filters.get("object", ""),
        since=filters.get("from"),
        until=filters.get("to"),
    )


def _cursor(request: MemberRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("after", ""))
    except ValueError:
        return None


def _api_url(request: MemberRequest, filters: Mapping[str, Any]) -> str:
    """The same entries in the API."""
    given = {
        name: value if isinstance(value, str) else f"{value:%Y-%m-%dT%H:%M:%SZ}"
        for name, value in filters.items()
        if value
    }
    return request.build_absolute_uri(f"/audit/?{urlencode({**given, 'limit': 1000})}")


def _make_rows(request: MemberRequest, page: audit.EntryPage) -> list[EntryRow]:
    shown = [(entry, _ids(entry)) for entry in page.entries]
    ids = {each for _, some in shown for each in some}
    values = {each for entry in page.entries for each in _texts(entry)}
    names = object_names.find_names(request.tenant, ids | values)
    return [
        EntryRow(
            entry,
            [_link(entry, each, names) for each in some],
            entry.count - len(some),
            list(_read_changes(entry, names)),
        )
        for entry, some in shown
    ]


def _ids(entry: AuditEntry) -> list[str]:
    return (entry.object_ids or [entry.object_id])[:MAX_NAMED_OBJECTS]


def _link(entry: AuditEntry, object_id: str, names: Mapping[str, str]) -> ObjectLink:
    kind = entry.action.partition(".")[0]
    url = _PAGES[kind].format(object_id) if kind in _PAGES else ""
    return ObjectLink(object_id, names.get(object_id, object_id), url)


def _texts(entry: AuditEntry) -> Iterator[str]:
    """The values that may be ids of what has a name."""
    for pair in (entry.changes or {}).values():
        yield from (value for value in pair if isinstance(value, str))


def _read_changes(entry: AuditEntry, names: Mapping[str, str]) -> Iterator[Change]:
    for field, (before, after) in (entry.changes or {}).items():
        name = field.removesuffix("_id").replace("_", " ")
        if before == after == audit.REDACTED:
            yield Change(name, "", "changed, and not shown")
        elif not (before is None and after in _EMPTY):
            was = "" if before is None else _say(before, names)
            yield Change(name, was, _say(after, names))


def _say(value: Any, names: Mapping[str, str]) -> str:
    match value:
        case None | "" | []:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
    return names.get(str(value), str(value))
