"""The secrets that sign requests: list and rotate them, and check a signature."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from accounts import services as accounts
from console.pages import MemberRequest, for_admins
from console.settings.token_forms import RotationForm, SignatureForm
from scheduler_service.db import clock
from tasks_api.domain import signature_check
from tasks_api.domain.signature_check import KnownSecret, SignatureCheck


@for_admins
@require_safe
def signing_secrets(request: MemberRequest) -> HttpResponse:
    found = accounts.list_signing_secrets(request.tenant, now=clock.now())
    context = {"secrets": [secret._replace(clear_text="") for secret in found]}
    return render(request, "console/settings/signing_secrets.html", context)


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def rotate_signing_secret(request: MemberRequest) -> HttpResponse:
    form, secret = RotationForm(request.POST or None), ""
    if form.is_valid():
        secret = accounts.rotate_signing_secret(
            request.tenant, now=clock.now(), overlap=form.cleaned_data["overlap"]
        )
    context = {"form": form, "secret": secret}
    return render(request, "console/settings/rotate_signing_secret.html", context)


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def check_signature(request: MemberRequest) -> HttpResponse:
    form = SignatureForm(request.POST or None)
    check = _check(request, form) if form.is_valid() else None
    context = {"form": form, "check": check}
    return render(request, "console/settings/check_signature.html", context)


def _check(request: MemberRequest, form: SignatureForm) -> SignatureCheck:
    now, given = clock.now(), form.cleaned_data
    known = [
        KnownSecret(each.fingerprint, each.clear_text, each.is_live)
        for each in accounts.list_signing_secrets(request.tenant, now=now)
        if each.clear_text
    ]
    return signature_check.check_signature(
        given["headers"], given["body"], known, now=now
    )
