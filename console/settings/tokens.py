"""The tokens of a user: list, issue, renew, rotate and revoke them. Administrators see all."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from accounts.models import Scope, Token, User
from console.bounds_words import bounds_sentences
from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_members
from console.settings import quotas
from console.settings.quotas import QuotaRow
from console.settings.token_forms import RotationForm, TokenForm
from console.templatetags.console import exact
from scheduler_service.db import clock
from tasks_api.domain.exceptions import InvalidState


class TokenRow(NamedTuple):
    token: Token
    state: str
    quotas: list[QuotaRow]

    @property
    def bounds(self) -> list[str]:
        return bounds_sentences(self.token.bounds)


@for_members
@require_safe
def tokens(request: MemberRequest) -> HttpResponse:
    with_ended, now = "ended" in request.GET, clock.now()
    page = accounts.list_tokens(
        request.user, now=now, with_ended=with_ended, after=_cursor(request)
    )
    uses = {each.token.pk: each.quotas for each in quotas.read_tokens(page.tokens)}
    rows = [
        TokenRow(token, _state_of(token, now), uses.get(token.pk, []))
        for token in page.tokens
    ]
    context = {"rows": rows, "after": page.after, "with_ended": with_ended}
    return render(request, "console/settings/tokens.html", context)


def _cursor(request: MemberRequest) -> int | None:
    given = request.GET.get("after", "")
    return (
        int(given) if given.isascii() and given.isdigit() and len(given) < 20 else None
    )


def _state_of(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    is_over = token.expires_at is not None and token.expires_at <= now
    return "expired" if is_over else "valid"


@for_members
@require_http_methods(["GET", "HEAD", "POST"])
def new_token(request: MemberRequest) -> HttpResponse:
    form = TokenForm(request.POST or None, user=request.user)
    if form.is_valid() and (issued := _issue(request, form)):
        return _show(request, *issued)
    return render(request, "console/settings/new_token.html", {"form": form})


def _issue(request: MemberRequest, form: TokenForm) -> tuple[Token, str] | None:
    """The new token, or None if the form says why there is none."""
    given = form.cleaned_data
    days = given["lifetime"]
    expires_at = clock.now() + timedelta(days=days) if days else None
    try:
        return accounts.create_token(
            _owner(request, given.get("owner", "")),
            name=given["name"],
            scope=Scope(given["scope"]),
            expires_at=expires_at,
            bounds=form.bounds,
        )
    except accounts.UserUnknown as unknown:
        form.add_error("owner", str(unknown))
    except accounts.AccountError as refusal:
        form.add_error(None, str(refusal))
    return None


def _owner(request: MemberRequest, name: str) -> User:
    return accounts.find_member(request.tenant, name) if name else request.user


def _show(request: MemberRequest, token: Token, clear_text: str) -> HttpResponse:
    """Show a token, once."""
    context: dict[str, Any] = {
        "token": token,
        "bounds": bounds_sentences(token.bounds),
        "clear_text": clear_text,
        "api": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "console/settings/issued_token.html", context)


@for_members
@require_safe
def token(request: MemberRequest, token_id: str) -> HttpResponse:
    found = _find(request, token_id)
    of_bounds = list(quotas.read_tokens([found]))
    row = TokenRow(
        found,
        _state_of(found, clock.now()),
        of_bounds[0].quotas if of_bounds else [],
    )
    return render(request, "console/settings/token.html", {"row": row, "token": found})


@for_members
@require_POST
def renew_token(request: MemberRequest, token_id: str) -> HttpResponse:
    found = _find(request, token_id)
    try:
        bounds = accounts.renew_bounds(found, now=clock.now())
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
    else:
        text = f"What the token made goes on until {exact(bounds.ends_at)}."
        messages.success(request, text)
    return redirect("console-token", token_id)


@for_members
@require_http_methods(["GET", "HEAD", "POST"])
def rotate_token(request: MemberRequest, token_id: str) -> HttpResponse:
    token, form = _find(request, token_id), RotationForm(request.POST or None)
    if form.is_valid():
        return _rotate(request, token, form.cleaned_data["overlap"])
    context = {"token": token, "form": form}
    return render(request, "console/settings/rotate_token.html", context)


def _rotate(request: MemberRequest, token: Token, overlap: timedelta) -> HttpResponse:
    try:
        issued = accounts.rotate_token(token, now=clock.now(), overlap=overlap)
    except accounts.AccountError as refusal:
        messages.error(request, str(refusal))
        return redirect("console-tokens")
    return _show(request, *issued)


@for_members
@require_POST
def revoke_token(request: MemberRequest, token_id: str) -> HttpResponse:
    token = _find(request, token_id)
    if not is_confirmed(request):
        return _ask(request, token)
    accounts.revoke_tokens(Token.objects.filter(pk=token.pk), now=clock.now())
    messages.success(request, f"The token {token.name or token.prefix} is revoked.")
    return redirect("console-tokens")


def _ask(request: MemberRequest, token: Token) -> HttpResponse:
    question = Question(
        question=f"Revoke the token {token.name or token.prefix}?",
        consequence="Requests with it are refused at once, and it never works again.",
        names=[f"{token.prefix}… of {token.user.name}, scope {token.scope}"],
        verb="Revoke the token",
        back="/app/settings/tokens/",
    )
    return ask(request, question)


def _find(request: MemberRequest, token_id: str) -> Token:
    try:
        return accounts.find_token(request.user, UUID(token_id))
    except accounts.TokenUnknown:
        raise Http404 from None
