"""The account of the person who is logged in, and the way to the settings."""

from __future__ import annotations

from allauth.account.views import password_set
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from accounts import services as accounts
from accounts.models import User
from console.navigation import first_settings_page
from console.pages import MemberRequest, for_members


@login_required
def account(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    context = {"has_only_identity": accounts.has_only_identity(request.user)}
    return render(request, "console/account.html", context)


@login_required
def choose_password(request: HttpRequest) -> HttpResponseBase:
    """The first password of a user, unless an identity provider lets the user in."""
    assert isinstance(request.user, User)
    if accounts.has_only_identity(request.user):
        raise PermissionDenied("Your identity provider lets you in, not a password.")
    response: HttpResponseBase = password_set(request)
    return response


@for_members
def settings_page(request: MemberRequest) -> HttpResponse:
    return redirect(first_settings_page(request.user) or "tenant-account")
