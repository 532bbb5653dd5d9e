"""The forms of tokens and signing secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms

from accounts import services as accounts
from accounts.models import Role, Scope, Token, User

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


class TokenForm(forms.Form):
    """What a new token is for, what it may do, and for how long."""

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

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if user.role != Role.ADMIN:
            del self.fields["owner"]


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
