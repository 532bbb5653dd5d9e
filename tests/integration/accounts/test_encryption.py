"""Secrets follow SECRET_KEY when it rotates, and it is loud when it does not open them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import encryption, services
from accounts.encryption import SecretCounts
from accounts.models import SigningSecret, Tenant, User
from tasks_api.api.tasks.rendering import render_task
from tasks_api.domain.schedules import Once
from tasks_api.metrics import registry
from tasks_api.models import Task
from tasks_api.worker.engine import Engine
from tests.conftest import MakeTask
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import store_task
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "another-key-0123456789-0123456789-0123456789-0123456789"


@pytest.fixture
def tenant(user: User) -> Tenant:
    tenant, _ = services.configure_tenant("Alpha", shared_secret="s3sam3")
    return tenant


RotateKey = Callable[..., None]


@pytest.fixture
def rotate_key(settings: LazySettings) -> Iterator[RotateKey]:
    """Go on under another key, as a process that is started with it."""
    given = settings.SECRET_KEY

    def rotate(key: str, *former: str) -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, list(former)
        for _, column in encryption.encrypted_columns():
            for derived in ("keys", "f"):
                vars(column).pop(derived, None)

    yield rotate
    rotate(given)


def stored_secrets() -> list[str]:
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
    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(sealed[:-4] + "AAA=")


def test_a_column_and_the_functions_have_the_same_keys(tenant: Tenant) -> None:
    assert "s3sam3" in [encryption.decrypt(secret) for secret in stored_secrets()]


def test_secrets_are_put_under_the_new_key(
    tenant: Tenant, settings: LazySettings, rotate_key: RotateKey
) -> None:
    old = settings.SECRET_KEY
    [secret] = services.load_signing_secrets(tenant.pk, timezone.now())
    rotate_key(NEW, old)
    before = stored_secrets()

    with pytest.raises(CommandError, match="2 secrets want a former key"):
        call_command("reencrypt_secrets", "--check")
    assert stored_secrets() == before
    call_command("reencrypt_secrets", stdout=StringIO())
    again = stored_secrets()
    call_command("reencrypt_secrets", "--check", stdout=StringIO())
    call_command("reencrypt_secrets", stdout=StringIO())

    # Of what the current key opens, nothing is written.
    assert stored_secrets() == again != before
    rotate_key(NEW)
    assert services.load_signing_secrets(tenant.pk, timezone.now()) == [secret]
    assert Tenant.objects.get(pk=tenant.pk).shared_secret == "s3sam3"


def test_many_secrets_are_put_under_the_new_key_in_batches(
    tenant: Tenant, settings: LazySettings, rotate_key: RotateKey
) -> None:
    for _ in range(6):
        SigningSecret.objects.create(tenant=tenant)
    rotate_key(NEW, settings.SECRET_KEY)

    assert encryption.reencrypt(batch_size=3) == SecretCounts(former=8)
    assert encryption.reencrypt(batch_size=3) == SecretCounts(current=8)


def test_a_key_that_opens_nothing_is_loud(
    tenant: Tenant, rotate_key: RotateKey, caplog: pytest.LogCaptureFixture
) -> None:
    rotate_key(NEW)

    with caplog.at_level(logging.ERROR):
        ring = services.load_keyrings([tenant.pk], timezone.now())[tenant.pk]

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
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    SigningSecret.objects.all().delete()
    before = unsigned_count()
    store_task(user, Once(timezone.now()), receiver.url + "/hook")

    engine.ring()
    recorded.wait_for(1)

    assert unsigned_count() == before + 1
    [request] = receiver.wait_for(1)
    assert request.headers["webhook-signature"] == ""


def unsigned_count() -> float:
    [line] = re.findall(
        rb"^scheduler_unsigned_total (.+)$", registry.exposition(), re.M
    )
    return float(line)


URL = "https://ann:sesame@example.com/x"
TWIN = "https://example.com/gAAAAABlooksLikeOne?u=http://a:b@c"


def store_in_clear(make_task: MakeTask, count: int = 1) -> list[Any]:
    """Tasks and a tenant as the release before stored them."""
    tasks = [make_task(url=URL) for _ in range(count)] + [make_task(url=TWIN)]
    Tenant.objects.update(callback_url=URL, notification_url=TWIN)
    return [task.pk for task in tasks]


def urls() -> list[str]:
    tenants = Tenant.objects.values_list("callback_url", "notification_url")
    tasks = Task.objects.order_by("pk").values_list("url", flat=True)
    return [*tasks, *(url for pair in tenants for url in pair)]


def test_credentials_in_clear_text_are_sealed_in_batches(
    tenant: Tenant, make_task: MakeTask
) -> None:
    store_in_clear(make_task, 5)
    before = urls()

    with pytest.raises(CommandError, match="6 URLs have their credentials in clear"):
        call_command("reencrypt_secrets", "--check")
    [warning] = run_checks(databases=["default"], tags=["database"])
    assert urls() == before
    census = encryption.reencrypt(batch_size=2)

    assert (warning.id, warning.msg[:13]) == ("scheduler.W006", "6 stored URLs")
    assert census == SecretCounts(current=2, clear=6)
    assert [encryption.open_url(url) for url in urls()] == before
    assert "sesame" not in "".join(urls())
    # What only looks like a secret of ours is the tenant's own text.
    assert urls().count(TWIN) == 2
    call_command("reencrypt_secrets", "--check", stdout=StringIO())
    assert run_checks(databases=["default"], tags=["database"]) == []


def test_credentials_in_urls_are_put_under_the_new_key(
    tenant: Tenant, make_task: MakeTask, settings: LazySettings, rotate_key: RotateKey
) -> None:
    store_in_clear(make_task)
    encryption.reencrypt()
    sealed = urls()
    rotate_key(NEW, settings.SECRET_KEY)

    with pytest.raises(CommandError, match="4 secrets want a former key"):
        call_command("reencrypt_secrets", "--check")
    call_command("reencrypt_secrets", stdout=StringIO())
    rotate_key(NEW)

    assert urls() != sealed
    assert [encryption.open_url(url) for url in urls()] == [URL, TWIN, URL, TWIN]
    rotate_key("a-key-that-knows-nothing")
    with pytest.raises(CommandError, match="4 secrets are opened by no key"):
        call_command("reencrypt_secrets")


def test_credentials_in_clear_text_are_hidden_and_sent(
    tenant: Tenant, make_task: MakeTask
) -> None:
    store_in_clear(make_task)

    task = Task.objects.get(url=URL)

    assert render_task(task, timezone.now())["url"] == "https://***@example.com/x"
    assert encryption.open_url(task.url) == URL
