"""The forms that say how all tasks of a filter are to be, in the words of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms

from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.specs import Misfire, Overlap
from tasks_api.services.pausing import MAX_REASON_LENGTH

CATCH_UPS = [
    (CatchUp.NONE.value, "they pass, and nothing makes up for them"),
    (CatchUp.LATEST.value, "the newest one fires"),
    (CatchUp.ALL.value, "the newest 100 fire, in order"),
]
UNCHANGED = ("", "as it is")
OVERLAPS = [
    UNCHANGED,
    (Overlap.ALLOW.value, "starts all the same"),
    (Overlap.SKIP.value, "is skipped"),
    (Overlap.QUEUE_ONE.value, "waits until it is over"),
]
MISFIRES = [
    UNCHANGED,
    (Misfire.LATEST.value, "is made up for once, if it is the latest"),
    (Misfire.SKIP.value, "is left out"),
    (Misfire.ALL.value, "is made up for, as all others are"),
]
PLAIN = {"spellcheck": "false", "autocomplete": "off"}


class ActionForm(forms.Form):
    """What a request says beside its filter. Empty fields say nothing."""

    use_required_attribute = False

    def to_body(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {name: given[name] for name in given if given[name] not in ("", None)}

    def refuse(self, field: str, reason: str) -> None:
        """Say beside a field of the API what is wrong with it, or above the form."""
        name = FORM_NAMES.get(field.partition(".")[0], field)
        self.add_error(name if name in self.fields else None, reason)


class PauseForm(ActionForm):
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON_LENGTH,
        help_text="Such as a migration. Everybody who looks at one of the tasks reads it.",
    )
    until = forms.CharField(
        label="Until (UTC)",
        required=False,
        max_length=40,
        help_text="When they resume by themselves. Empty: when somebody resumes them.",
        widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1}),
    )
    catch_up = forms.ChoiceField(
        label="The fire times of the pause", required=False, choices=CATCH_UPS
    )

    def to_body(self) -> dict[str, Any]:
        body = super().to_body()
        is_default = body.get("catch_up") == CatchUp.NONE
        return {
            name: body[name] for name in body if name != "catch_up" or not is_default
        }


class ResumeForm(ActionForm):
    catch_up = forms.ChoiceField(
        label="The fire times of the pause",
        required=False,
        choices=[("", "as was said with the pause"), *CATCH_UPS],
    )


class ChangeForm(ActionForm):
    set_headers = forms.CharField(
        label="Headers to set",
        required=False,
        help_text="One a line, such as <code>X-Api-Key: 5f0c…</code>. The tasks keep "
        "their other headers.",
        widget=forms.Textarea(attrs={**PLAIN, "class": "copy", "rows": 2}),
    )
    remove_headers = forms.CharField(
        label="Headers to remove",
        required=False,
        help_text="Their names, separated by commas.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    add_tags = forms.CharField(
        label="Tags to add", required=False, help_text="Separated by commas."
    )
    remove_tags = forms.CharField(
        label="Tags to remove", required=False, help_text="Separated by commas."
    )
    url_host = forms.CharField(
        label="Host",
        required=False,
        help_text="Takes the place of the host and the port in each URL.",
        widget=forms.TextInput(attrs={**PLAIN, "placeholder": "api.example.com"}),
    )
    lane = forms.CharField(required=False, max_length=100, help_text="Its name.")
    timeout_seconds = forms.IntegerField(
        label="Seconds that a request may take", required=False, min_value=1
    )
    expected_status = forms.CharField(
        label="Statuses that count as success",
        required=False,
        help_text="Such as <code>200-299,304</code>.",
    )
    overlap = forms.ChoiceField(
        label="While a run is under way, the next one",
        required=False,
        choices=OVERLAPS,
    )
    misfire = forms.ChoiceField(
        label="A fire time that nobody could take", required=False, choices=MISFIRES
    )
    pause_after_failures = forms.IntegerField(
        label="Pause after so many failed runs in a row", required=False, min_value=1
    )

    def clean_set_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in filter(str.strip, self.cleaned_data["set_headers"].splitlines()):
            name, colon, value = line.partition(":")
            if not colon:
                raise forms.ValidationError("There is no colon in one of the lines.")
            headers[name.strip()] = value.strip()
        return headers

    def clean_remove_headers(self) -> list[str]:
        return list(_words(self.cleaned_data["remove_headers"]))

    def clean_add_tags(self) -> list[str]:
        return list(_words(self.cleaned_data["add_tags"]))

    def clean_remove_tags(self) -> list[str]:
        return list(_words(self.cleaned_data["remove_tags"]))

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self._changes():
            raise forms.ValidationError("Say first what is to change.")
        return self.cleaned_data

    def to_body(self) -> dict[str, Any]:
        return {"set": self._changes()}

    def _changes(self) -> dict[str, Any]:
        given = dict(self.cleaned_data)
        removed = dict.fromkeys(given.pop("remove_headers", ()), None)
        given["set_headers"] = {**given.get("set_headers", {}), **removed}
        empty: tuple[Any, ...] = ("", None, {}, [])
        return {name: given[name] for name in given if given[name] not in empty}


# The field of a form for a field of the API, where the names differ.
FORM_NAMES = {"headers": "set_headers", "tags": "add_tags", "url": "url_host"}


def _words(text: str) -> Iterator[str]:
    return filter(None, (word.strip() for word in text.split(",")))
