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
# The filters that the API has, and what it calls them.
API_NAMES = {
    "q": "search",
    "state": "state",
    "kind": "task_type",
    "tag": "tag",
    "lane": "lane",
}
TASK_TYPES = {"one-time": "one_time", "recurring": "periodic"}


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

    @property
    def api_filter(self) -> dict[str, str]:
        """The same filter for requests to the API, which finds tasks of its own format.

        Empty if the filter has no condition beside the owner, is about another format, or
        has a condition that the API lacks: without it, more tasks would be found.
        """
        given = {name: value for name, value in self.cleaned_data.items() if value}
        is_lacking = given.keys() - {*API_NAMES, "format", "owner"}
        if is_lacking or self.errors or Surface.TASKS not in self.formats:
            return {}
        found = {API_NAMES[name]: given[name] for name in API_NAMES if name in given}
        if "kind" in given:
            found["task_type"] = TASK_TYPES[given["kind"]]
        if found and "owner" in self.fields:
            found["owner"] = self.owner_name or "all"
        return found
