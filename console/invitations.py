"""The page behind the link of an invitation, and the mail that brings the link."""

from __future__ import annotations

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods

from accounts import services as accounts
from accounts.models import Invitation, User
from console.forms import AcceptanceForm
from scheduler_service.db import clock


@require_http_methods(["GET", "HEAD", "POST"])
def accept(request: HttpRequest, secret: str) -> HttpResponseBase:
    try:
        invitation = accounts.find_invitation(secret, now=clock.now())
    except accounts.InvitationClosed as closed:
        return _refuse(request, closed)
    form = AcceptanceForm(request.POST or None, invitation=invitation)
    user = _accept(secret, form) if form.is_valid() else None
    if user is not None:
        return _log_in(request, user)
    context = {"invitation": invitation, "form": form}
    return render(request, "console/invitation.html", context)


def _refuse(request: HttpRequest, closed: accounts.InvitationClosed) -> HttpResponse:
    context = {"reason": str(closed)}
    return render(request, "console/invitation_closed.html", context, status=404)


def _accept(secret: str, form: AcceptanceForm) -> User | None:
    given = form.cleaned_data
    try:
        return accounts.accept_invitation(
            secret,
            name=given.get("name", ""),
            password=given["password"],
            email=given.get("email", ""),
            now=clock.now(),
        )
    except accounts.AccountError as refusal:
        form.add_error(None, str(refusal))
        return None


def _log_in(request: HttpRequest, user: User) -> HttpResponseBase:
    """Log in as with a password, so that a second factor is still asked for."""
    credentials = {"username": user.username}
    response: HttpResponseBase = perform_password_login(
        request, credentials, Login(user=user)
    )
    return response


def mail_invitation(invitation: Invitation, url: str) -> None:
    context = {"invitation": invitation, "url": url}
    text = render_to_string("console/invitation_mail.txt", context)
    send_mail(f"Invitation to {invitation.tenant}", text, None, [invitation.email])
