"""The forms of the pages, with the sentences that people read when they are refused."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import (
    password_validators_help_text_html,
    validate_password,
)

from accounts.models import Invitation, Role, User

NAME_LENGTH = 100
ROLE_LABELS = [
    (Role.MEMBER, "Member: has tasks of their own"),
    (Role.ADMIN, "Administrator: manages all tasks, people and secrets"),
    (Role.VIEWER, "Viewer: reads all tasks, changes nothing"),
]


class InvitationForm(forms.Form):
    """What an administrator says about the person to invite."""

    name = forms.CharField(
        required=False,
        max_length=NAME_LENGTH,
        help_text="Their name in your tenant, such as ann. Empty lets them choose.",
    )
    email = forms.EmailField(required=False, label="E-mail")
    role = forms.ChoiceField(choices=ROLE_LABELS, initial=Role.MEMBER)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class AcceptanceForm(forms.Form):
    """The name and the password of a person who was invited."""

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="What you are called in your tenant, such as ann.",
        widget=forms.TextInput(attrs={"autocomplete": "nickname"}),
    )
    email = forms.EmailField(
        required=False,
        label="E-mail",
        help_text="Where you get a link if you forget your password.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html(),
    )

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._invitation = invitation
        # What the invitation says is shown beside the form.
        for field in ("name", "email"):
            if getattr(invitation, field):
                del self.fields[field]

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        name = self._invitation.name or self.cleaned_data.get("name", "")
        validate_password(password, User(username=name, name=name))
        return password
