"""The filters of the list of tasks."""

from __future__ import annotations

from django import forms
from django.http import QueryDict

from console.formats import TITLES
from tasks_api.domain.specs import Surface
from tasks_api.services.browsing import FORMATS
from tasks_api.services.listing import TaskFilters

MAX_LENGTH = 255
STATES = {"active": False, "paused": True}
KINDS = {"one-time": True, "recurring": False}


class FilterForm(forms.Form):
    q = forms.CharField(
        label="Search",
        required=False,
        max_length=MAX_LENGTH,
        widget=forms.SearchInput(attrs={"placeholder": "name, host, queue or tag"}),
    )
    state = forms.ChoiceField(
        required=False, choices=[("", "any"), *((s, s) for s in STATES)]
    )
    kind = forms.ChoiceField(
        required=False, choices=[("", "any"), *((k, k) for k in KINDS)]
    )
    tag = forms.CharField(required=False, max_length=MAX_LENGTH)
    lane = forms.CharField(required=False, max_length=MAX_LENGTH)
    format = forms.ChoiceField(
        required=False,
        choices=[("", "any"), *((each.value, TITLES[each]) for each in FORMATS)],
    )
    owner = forms.CharField(required=False, max_length=MAX_LENGTH)

    def __init__(self, query: QueryDict, *, has_owners: bool) -> None:
        super().__init__(query, auto_id="filter-%s")
        if not has_owners:
            del self.fields["owner"]
        # A filter that cannot be is none.
        self.is_valid()

    @property
    def filters(self) -> TaskFilters:
        given = self.cleaned_data
        tag = given.get("tag")
        return TaskFilters(
            search=given.get("q", "").lower() or None,
            lane=given.get("lane") or None,
            tags=(tag,) if tag else (),
            is_paused=STATES.get(given.get("state", "")),
            is_one_time=KINDS.get(given.get("kind", "")),
        )

    @property
    def formats(self) -> tuple[Surface, ...]:
        chosen = self.cleaned_data.get("format")
        return (Surface(chosen),) if chosen else FORMATS

    @property
    def owner_name(self) -> str:
        return str(self.cleaned_data.get("owner", ""))

    @property
    def is_narrowed(self) -> bool:
        return any(self.cleaned_data.values())
