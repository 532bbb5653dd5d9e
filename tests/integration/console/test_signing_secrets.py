"""The page of signing secrets: rotated with an overlap, shown once, and checked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import SigningSecret, Tenant
from tasks_api.domain import signing
from tests.integration.support.audit_log import logged_actions

pytestmark = pytest.mark.django_db

SECRETS = "/app/settings/signing-secrets/"


def test_a_rotation_shows_the_new_secret_once(admin: Client, alpha: Tenant) -> None:
    page = admin.post(f"{SECRETS}rotate", {"overlap": "3600"})

    new, old = SigningSecret.objects.filter(tenant=alpha).order_by("-pk")
    assert new.secret in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert old.expires_at is not None
    assert new.expires_at is None
    after = admin.get(SECRETS).content.decode()
    for each in (new, old):
        assert services.fingerprint(each.secret) in after
        assert each.secret not in after
    name = services.fingerprint(new.secret)
    assert logged_actions(action="signing_secret.rotate") == [
        ("adam@Alpha", "console", "signing_secret.rotate", name)
    ]


def test_a_rotation_is_offered_with_a_day_of_overlap(
    admin: Client, alpha: Tenant
) -> None:
    page = admin.get(f"{SECRETS}rotate").content.decode()

    assert '<option value="86400" selected>' in page
    assert SigningSecret.objects.filter(tenant=alpha).count() == 1


def test_secrets_that_ended_are_listed_as_such(admin: Client, alpha: Tenant) -> None:
    services.rotate_signing_secret(alpha, now=timezone.now(), overlap=timedelta())

    page = admin.get(SECRETS).content.decode()

    assert page.count(">signs<") == 1
    assert page.count(">ended<") == 1


def test_a_tenant_sees_no_secret_of_another(
    admin: Client, alpha: Tenant, beta: Tenant
) -> None:
    secret = SigningSecret.objects.get(tenant=beta).secret

    assert services.fingerprint(secret) not in admin.get(SECRETS).content.decode()


def headers_of(tenant: Tenant, body: str) -> str:
    now = timezone.now()
    secrets, timestamp = (
        services.load_signing_secrets(tenant.pk, now),
        int(now.timestamp()),
    )
    signed = signing.signature(secrets, "run-1", timestamp, body)
    return (
        f"webhook-id: run-1\r\nwebhook-timestamp: {timestamp}\r\n"
        f"webhook-signature: {signed}"
    )


def test_a_signature_is_checked_and_nothing_is_stored(
    admin: Client, alpha: Tenant
) -> None:
    body = '{"hello": "world"}'
    form = {"headers": headers_of(alpha, body), "body": body}

    good = admin.post(f"{SECRETS}check", form).content.decode()
    bad = admin.post(f"{SECRETS}check", {**form, "body": "{}"}).content.decode()

    secret = SigningSecret.objects.get(tenant=alpha).secret
    assert "The signature verifies" in good
    assert services.fingerprint(secret) in good
    assert secret not in good
    assert "A receiver accepts the request" in good
    assert "does not verify" in bad
    assert "No secret of your tenant matches" in bad
    assert logged_actions(via="console") == []


def test_the_secrets_of_other_tenants_verify_nothing(
    admin: Client, alpha: Tenant, beta: Tenant
) -> None:
    form = {"headers": headers_of(beta, "{}"), "body": "{}"}

    assert "does not verify" in admin.post(f"{SECRETS}check", form).content.decode()


def test_an_empty_form_asks_for_headers(admin: Client, alpha: Tenant) -> None:
    page = admin.post(f"{SECRETS}check", {"headers": "", "body": ""})

    assert "This field is required" in page.content.decode()
