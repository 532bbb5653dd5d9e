"""The account of the person who is logged in, and the way to the settings."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from console.navigation import first_settings_page
from console.pages import MemberRequest, for_members


@login_required
def account(request: HttpRequest) -> HttpResponse:
    return render(request, "console/account.html")


@for_members
def settings_page(request: MemberRequest) -> HttpResponse:
    return redirect(first_settings_page(request.user) or "console-account")
