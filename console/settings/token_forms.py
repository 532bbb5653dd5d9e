"""The forms of tokens and signing secrets."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django import forms

from accounts import services as accounts
from accounts.models import Role, Scope, Token, User
from tasks_api.domain.bound_fields import NAMES, read_bounds
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.exceptions import InvalidTask

SCOPE_LABELS = [
    (Scope.READ, "Read: reads, and changes nothing"),
    (Scope.WRITE, "Write: also creates and changes tasks"),
    (Scope.ADMIN, "Admin: everything that its user may do"),
]
LIFETIMES = [
    (30, "30 days"),
    (90, "90 days"),
    (365, "365 days"),
    (0, "It never expires"),
]
DEFAULT_LIFETIME = 90
# Bounds in time, in seconds.
SPANS = [
    ("", "no bound"),
    (3600, "1 hour"),
    (86_400, "1 day"),
    (7 * 86_400, "7 days"),
    (30 * 86_400, "30 days"),
    (90 * 86_400, "90 days"),
    (365 * 86_400, "365 days"),
]
MAX_LIST_LENGTH = 10_000
# What a person pastes, in characters.
MAX_HEADERS_LENGTH, MAX_BODY_LENGTH = 20_000, 1_000_000
HEADERS_EXAMPLE = """\
webhook-id: 01a1fc27-43da-77a3-aa00-fe50c331d347
webhook-timestamp: 1795231794
webhook-signature: v1,115nPUCMUNdrm/H5yORV+IN8qmCa/CBHhRV9Xw07mm8="""
OVERLAPS = [
    (timedelta(), "Not at all: it ends at once"),
    (timedelta(hours=1), "1 hour"),
    (accounts.DEFAULT_OVERLAP, "1 day"),
    (timedelta(days=7), "7 days"),
    (accounts.MAX_OVERLAP, "30 days"),
]


class ListField(forms.CharField):
    """Words with separators between them."""

    def __init__(self, *args: Any, separators: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._separators = separators

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        words = re.split(f"[{self._separators}]", text)
        return [word.strip() for word in words if word.strip()]


def _list(label: str, help_text: str, *, separators: str = r",\s") -> ListField:
    attributes = {"spellcheck": "false", "autocomplete": "off"}
    widget = forms.TextInput(attrs=attributes)
    return ListField(
        label=label,
        required=False,
        help_text=help_text,
        max_length=MAX_LIST_LENGTH,
        separators=separators,
        widget=widget,
    )


def _amount(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label, required=False, min_value=1, help_text=help_text
    )


def _seconds(label: str, help_text: str) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        label=label,
        required=False,
        choices=SPANS,
        coerce=int,
        empty_value=None,
        help_text=help_text,
    )


class TokenForm(forms.Form):
    """What a new token is for, what it may do and for how long, and its bounds."""

    name = forms.CharField(
        required=False,
        max_length=Token._meta.get_field("name").max_length,
        help_text="What it is for, such as the program that uses it.",
    )
    scope = forms.ChoiceField(choices=SCOPE_LABELS, initial=Scope.WRITE)
    lifetime = forms.TypedChoiceField(
        choices=LIFETIMES,
        coerce=int,
        initial=DEFAULT_LIFETIME,
        label="Expires after",
        help_text="A token that leaks works until it expires or is revoked.",
    )
    owner = forms.CharField(
        required=False,
        max_length=User._meta.get_field("name").max_length,
        label="For",
        help_text="The name of another member, who gets the token. Empty: yourself.",
    )

    hosts = _list(
        "Hosts", "The hosts that its tasks may call, separated by commas or spaces."
    )
    paths = _list("Paths", "Such as <code>/hooks/</code>, with all that is below.")
    methods = _list("Methods", "Such as <code>POST, PUT</code>.")
    tags = _list("Tags", "Each of its tasks gets them.", separators=",")
    runs_per_day = _amount("Requests in any 24 hours", "What is beyond waits.")
    tasks = _amount("Living tasks at a time")
    horizon = _seconds(
        "Fire times lie within",
        "Counted from each write. A periodic task then needs an end.",
    )
    renew_within = _seconds(
        "What it makes ends after", "Unless somebody renews the token before."
    )
    requests_per_minute = _amount("Requests to the API in a minute")
    payload_bytes = _amount("Bytes of the body of a task")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if user.role != Role.ADMIN:
            del self.fields["owner"]
        # What the fields of the bounds say; None: the token has no bounds.
        self.bounds: Bounds | None = None

    @property
    def own_fields(self) -> list[forms.BoundField]:
        return [field for field in self if field.name not in NAMES]

    @property
    def bound_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in NAMES]

    @property
    def says_bounds(self) -> bool:
        return any(field.value() or field.errors for field in self.bound_fields)

    def clean(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(name) for name in NAMES}
        said = {name: value for name, value in given.items() if value}
        try:
            self.bounds = read_bounds(said) if said else None
        except InvalidTask as error:
            name = error.field.removeprefix("bounds.")
            reason = str(error).removeprefix(f"Invalid value of {error.field}. ")
            self.add_error(name, f"{reason.replace('Value should', 'It should')}.")
        return self.cleaned_data


class RotationForm(forms.Form):
    """How long the old one works beside the new one."""

    overlap = forms.TypedChoiceField(
        choices=[(int(span.total_seconds()), label) for span, label in OVERLAPS],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial=int(accounts.DEFAULT_OVERLAP.total_seconds()),
        label="The old one stays valid for",
    )


class SignatureForm(forms.Form):
    """A request that a receiver got."""

    headers = forms.CharField(
        max_length=MAX_HEADERS_LENGTH,
        help_text="The header lines as they arrived. All but three are ignored.",
        widget=forms.Textarea(
            attrs={"rows": 5, "spellcheck": "false", "placeholder": HEADERS_EXAMPLE}
        ),
    )
    body = forms.CharField(
        required=False,
        strip=False,
        max_length=MAX_BODY_LENGTH,
        help_text="The body, byte by byte.",
        widget=forms.Textarea(
            attrs={
                "rows": 8,
                "spellcheck": "false",
                "placeholder": '{"hello": "world"}',
            }
        ),
    )
