"""Secrets follow SECRET_KEY when it rotates, and it is loud when it does not open them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import encryption, services
from accounts.encryption import Census
from accounts.models import SigningSecret, Tenant, User
from tasks_api import dispatch, metrics
from tasks_api.delivery.engine import Engine
from tasks_api.schedules import Once
from tests.integration.conftest import Recorded
from tests.integration.test_dispatch import store
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "another-key-0123456789-0123456789-0123456789-0123456789"


@pytest.fixture
def tenant(user: User) -> Tenant:
    tenant, _ = services.configure_tenant("Alpha", shared_secret="s3sam3")
    return tenant


RotateKey = Callable[..., None]


@pytest.fixture
def rotate_key(settings: Any) -> Iterator[RotateKey]:
    """Go on under another key, as a process that is started with it."""
    given = settings.SECRET_KEY

    def rotate(key: str, *former: str) -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, list(former)
        for _, column in encryption.encrypted_columns():
            for derived in ("keys", "f"):
                vars(column).pop(derived, None)

    yield rotate
    rotate(given)


def stored() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT secret FROM accounts_signingsecret"
            " UNION ALL SELECT shared_secret FROM accounts_tenant"
        )
        return [secret for (secret,) in cursor.fetchall()]


def test_what_is_encrypted_comes_back() -> None:
    sealed = encryption.encrypt("sésame")

    assert encryption.is_sealed(sealed)
    assert "sésame" not in sealed
    assert encryption.decrypt(sealed) == "sésame"
    with pytest.raises(encryption.Unreadable):
        encryption.decrypt(sealed[:-4] + "AAA=")


def test_a_column_and_the_functions_have_the_same_keys(tenant: Tenant) -> None:
    assert "s3sam3" in [encryption.decrypt(secret) for secret in stored()]


def test_secrets_are_put_under_the_new_key(
    tenant: Tenant, settings: Any, rotate_key: RotateKey
) -> None:
    old = settings.SECRET_KEY
    [secret] = services.live_signing_secrets(tenant.pk, timezone.now())
    rotate_key(NEW, old)
    before = stored()

    with pytest.raises(CommandError, match="2 secrets want a former key"):
        call_command("reencrypt_secrets", "--check")
    assert stored() == before
    call_command("reencrypt_secrets", stdout=StringIO())
    again = stored()
    call_command("reencrypt_secrets", "--check", stdout=StringIO())
    call_command("reencrypt_secrets", stdout=StringIO())

    # Of what the current key opens, nothing is written.
    assert stored() == again != before
    rotate_key(NEW)
    assert services.live_signing_secrets(tenant.pk, timezone.now()) == [secret]
    assert Tenant.objects.get(pk=tenant.pk).shared_secret == "s3sam3"


def test_many_secrets_are_put_under_the_new_key_in_bites(
    tenant: Tenant, settings: Any, rotate_key: RotateKey
) -> None:
    for _ in range(6):
        SigningSecret.objects.create(tenant=tenant)
    rotate_key(NEW, settings.SECRET_KEY)

    assert encryption.reencrypt(bite=3) == Census(former=8)
    assert encryption.reencrypt(bite=3) == Census(current=8)


def test_a_key_that_opens_nothing_is_loud(
    tenant: Tenant, rotate_key: RotateKey, caplog: pytest.LogCaptureFixture
) -> None:
    rotate_key(NEW)

    with caplog.at_level(logging.ERROR):
        ring = services.keyrings([tenant.pk], timezone.now())[tenant.pk]

    # What lies in the table is no secret to send along.
    assert (ring.signing_secrets, ring.shared_secret) == ([], "")
    assert "leave unsigned" in caplog.text
    assert "shared secret" in caplog.text
    [warning] = run_checks(databases=["default"], tags=["database"])
    assert (warning.id, "2 of the stored secrets" in warning.msg) == (
        "scheduler.W001",
        True,
    )
    with pytest.raises(CommandError, match="2 secrets are opened by no key"):
        call_command("reencrypt_secrets")


def test_the_check_asks_no_database_where_there_is_none(tenant: Tenant) -> None:
    assert run_checks(tags=["database"]) == []
    assert run_checks(databases=["default"], tags=["database"]) == []


def test_a_request_without_a_signature_is_counted(
    user: User, receiver: Receiver, engine: Engine, recorded: Recorded
) -> None:
    SigningSecret.objects.all().delete()
    before = unsigned()
    store(user, Once(timezone.now()), receiver.url + "/hook")

    engine.accept(dispatch.dispatch_due().run_ids)
    recorded.wait_for(1)

    assert unsigned() == before + 1
    [request] = receiver.wait_for(1)
    assert request.headers["webhook-signature"] == ""


def unsigned() -> float:
    [line] = re.findall(rb"^scheduler_unsigned_total (.+)$", metrics.exposition(), re.M)
    return float(line)
