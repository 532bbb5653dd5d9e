"""Credentials in the URLs of a tenant: kept, sealed, and shown to nobody."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts import encryption
from accounts import services as accounts
from accounts.models import AuditEntry, Tenant, User
from tests.integration.support.url_credentials import (
    PASSWORD_MARK,
    URL_AS_SHOWN,
    URL_WITH_CREDENTIALS,
    all_rows_as_text,
)

pytestmark = pytest.mark.django_db(transaction=True)

URLS = ("callback_url", "notification_url")


def configure_url(name: str, url: str) -> None:
    accounts.configure_tenant(
        "Alpha",
        callback_url=url if name == "callback_url" else None,
        notification_url=url if name == "notification_url" else None,
    )


@pytest.mark.parametrize("name", URLS)
def test_the_audit_log_tells_that_credentials_changed_and_not_to_what(
    alpha: Tenant, name: str
) -> None:
    for url in (
        URL_WITH_CREDENTIALS,
        URL_WITH_CREDENTIALS,
        URL_AS_SHOWN,
        URL_WITH_CREDENTIALS.replace(PASSWORD_MARK, "other"),
        "https://e.org/",
    ):
        configure_url(name, url)

    told = AuditEntry.objects.filter(action="tenant.change").order_by("id")
    assert [entry.changes for entry in told] == [
        {name: ["", URL_AS_SHOWN]},
        {name: [URL_AS_SHOWN, URL_AS_SHOWN]},
        {name: [URL_AS_SHOWN, "https://e.org/"]},
    ]


@pytest.mark.parametrize("name", URLS)
def test_hidden_credentials_are_no_url_of_a_tenant(alpha: Tenant, name: str) -> None:
    configure_url(name, URL_WITH_CREDENTIALS)

    with pytest.raises(accounts.AccountError, match=r"in the place of its credential"):
        configure_url(name, "https://***@evil.example/")

    stored = getattr(Tenant.objects.get(name="Alpha"), name)
    assert encryption.open_url(stored) == URL_WITH_CREDENTIALS


def test_a_form_that_is_saved_as_it_was_shown_keeps_the_credentials(
    client: Client, alpha: Tenant
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    accounts.configure_tenant(
        "Alpha",
        callback_url=URL_WITH_CREDENTIALS,
        notification_url=URL_WITH_CREDENTIALS,
    )
    before = Tenant.objects.get(pk=alpha.pk)
    page = reverse("admin:accounts_tenant_change", args=[alpha.pk])
    shown = client.get(page).context["adminform"].form.initial
    inline = {"signing_secrets-TOTAL_FORMS": 0, "signing_secrets-INITIAL_FORMS": 0}

    form = {"name": "Alpha", **{name: shown[name] for name in URLS}, **inline}
    client.post(page, {**form, "max_in_flight": 7})
    after = Tenant.objects.get(pk=alpha.pk)
    client.post(
        page,
        {
            **form,
            "callback_url": URL_WITH_CREDENTIALS.replace(PASSWORD_MARK, "n3w-secret"),
        },
    )
    changed = Tenant.objects.get(pk=alpha.pk)

    assert shown["callback_url"] == shown["notification_url"] == URL_AS_SHOWN
    assert after.max_in_flight == 7
    assert [getattr(after, name) for name in URLS] == [
        getattr(before, name) for name in URLS
    ]
    assert encryption.open_url(changed.callback_url) == URL_WITH_CREDENTIALS.replace(
        PASSWORD_MARK, "n3w-secret"
    )
    assert "n3w-secret" not in all_rows_as_text()
    entry = AuditEntry.objects.filter(action="tenant.change").order_by("-id")[0]
    assert entry.changes is not None
    assert entry.changes["callback_url"] == [URL_AS_SHOWN, URL_AS_SHOWN]


def test_a_form_with_hidden_credentials_of_another_url_is_refused(
    client: Client, alpha: Tenant
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    page = reverse("admin:accounts_tenant_change", args=[alpha.pk])
    inline = {"signing_secrets-TOTAL_FORMS": 0, "signing_secrets-INITIAL_FORMS": 0}

    answer = client.post(
        page, {"name": "Alpha", "callback_url": "https://***@e.org/", **inline}
    )

    assert "in the place of its credentials" in answer.content.decode()
    assert Tenant.objects.get(pk=alpha.pk).callback_url == ""


@pytest.mark.parametrize("permission", ["view_tenant", "change_tenant"])
def test_staff_see_no_credentials_of_a_tenant(
    client: Client, alpha: Tenant, permission: str
) -> None:
    staff = User.objects.create_user("help", password="x", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename=permission))
    client.force_login(staff)
    accounts.configure_tenant(
        "Alpha",
        callback_url=URL_WITH_CREDENTIALS,
        notification_url=URL_WITH_CREDENTIALS,
    )
    before = Tenant.objects.get(pk=alpha.pk)

    text = "".join(
        client.get(page).content.decode()
        for page in (
            reverse("admin:accounts_tenant_changelist"),
            reverse("admin:accounts_tenant_change", args=[alpha.pk]),
        )
    )

    assert text.count("https://***@example.com/x?y=z") == 3
    assert PASSWORD_MARK not in text
    assert encryption.CIPHERTEXT_PREFIX not in text
    after = Tenant.objects.get(pk=alpha.pk)
    assert [getattr(after, name) for name in URLS] == [
        getattr(before, name) for name in URLS
    ]
