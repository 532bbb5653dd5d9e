"""The users of a tenant: who they are, what they may, and invitations of new ones."""

from __future__ import annotations

import logging
from smtplib import SMTPException
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services as accounts
from accounts.models import Invitation, Role, User
from console.forms import InvitationForm, RoleForm
from console.invitations import mail_invitation
from console.pages import MemberRequest, for_admins
from scheduler_service.db import clock

logger = logging.getLogger(__name__)


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: MemberRequest) -> HttpResponse:
    form = InvitationForm(request.POST or None)
    link = _invite(request, form) if form.is_valid() else ""
    return _render_members(request, form=InvitationForm() if link else form, link=link)


def _render_members(request: MemberRequest, **context: Any) -> HttpResponse:
    tenant = request.tenant
    page = accounts.list_members(tenant, after=request.GET.get("after", ""))
    context |= {
        "tenant": tenant,
        "members": page.members,
        "after": page.after,
        "invitations": accounts.open_invitations(tenant, now=clock.now()),
        "roles": Role.choices,
    }
    return render(request, "console/settings/members.html", context)


def _invite(request: MemberRequest, form: InvitationForm) -> str:
    """The link of a new invitation; empty if the form says why there is none."""
    given = form.cleaned_data
    try:
        invitation, secret = accounts.create_invitation(
            request.tenant,
            role=Role(given["role"]),
            name=given["name"],
            email=given["email"],
            now=clock.now(),
            by=request.user.username,
        )
    except accounts.AccountError as refusal:
        form.add_error("name", str(refusal))
        return ""
    return _deliver(request, invitation, secret)


def _deliver(request: MemberRequest, invitation: Invitation, secret: str) -> str:
    url = request.build_absolute_uri(reverse("invitation", args=[secret]))
    if invitation.email and settings.SENDS_MAIL:
        try:
            mail_invitation(invitation, url)
        except (OSError, SMTPException) as error:
            logger.warning("An invitation could not be mailed: %s", error)
            messages.error(request, "The mail could not be sent. Give them the link.")
        else:
            messages.success(request, f"The link is on its way to {invitation.email}.")
    return url


@for_admins
@require_POST
def invite_member(request: MemberRequest, name: str) -> HttpResponse:
    """A link for a user who has no password yet, such as one added by the API."""
    user = _find(request, name)
    try:
        accounts.require_no_password(user)
        invitation, secret = accounts.invite_user(
            user, now=clock.now(), by=request.user.username
        )
    except accounts.AccountError as refusal:
        return _refuse(request, refusal)
    link = _deliver(request, invitation, secret)
    return _render_members(request, form=InvitationForm(), link=link)


@for_admins
@require_POST
def change_role(request: MemberRequest, name: str) -> HttpResponse:
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "There is no such role.")
        return redirect("console-members")
    return _change(request, name, role=Role(form.cleaned_data["role"]))


@for_admins
@require_POST
def deactivate(request: MemberRequest, name: str) -> HttpResponse:
    return _change(request, name, is_active=False)


@for_admins
@require_POST
def activate(request: MemberRequest, name: str) -> HttpResponse:
    return _change(request, name, is_active=True)


def _change(
    request: MemberRequest,
    name: str,
    *,
    role: Role | None = None,
    is_active: bool | None = None,
) -> HttpResponse:
    user = _find(request, name)
    try:
        accounts.change_member(request.user, user, role=role, is_active=is_active)
    except accounts.AccountError as refusal:
        return _refuse(request, refusal)
    messages.success(request, f"{user.name} is changed.")
    return redirect("console-members")


def _refuse(request: MemberRequest, refusal: accounts.AccountError) -> HttpResponse:
    messages.error(request, f"{refusal}")
    return redirect("console-members")


def _find(request: MemberRequest, name: str) -> User:
    try:
        return accounts.find_member(request.tenant, name)
    except accounts.UserUnknown:
        raise Http404 from None


@for_admins
@require_POST
def revoke(request: MemberRequest, invitation_id: UUID) -> HttpResponse:
    now = clock.now()
    if not accounts.revoke_invitation(request.tenant, invitation_id, now=now):
        raise Http404
    messages.success(request, "The invitation is withdrawn.")
    return redirect("console-members")
