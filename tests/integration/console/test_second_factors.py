"""A second factor protects the pages and the admin, and everything about it is logged."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import encryption, services
from accounts.models import AuditEntry, User
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.logins import PASSWORD, add_app, code_of, log_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_second_factor_is_asked_for(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    secret = add_app(client)

    other = Client()
    assert log_in(other, "ann@Alpha") == "/login/second-factor"
    assert other.get("/app/").status_code == 302
    wrong = other.post("/login/second-factor", {"code": "000000"})
    assert "Incorrect code" in wrong.content.decode()
    right = other.post("/login/second-factor", {"code": code_of(secret)})
    assert right["Location"] == "/app"
    assert other.get("/app/").status_code == 200


def test_the_secret_of_an_app_is_encrypted(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    secret = add_app(client)

    stored = Authenticator.objects.get(type="totp").data["secret"]

    assert encryption.is_sealed(stored)
    assert encryption.decrypt(stored) == secret


def test_a_new_secret_key_takes_over_the_secrets_of_apps(
    client: Client, ann: User, settings: LazySettings
) -> None:
    log_in(client, "ann@Alpha")
    secret = add_app(client)
    former, settings.SECRET_KEY = (
        settings.SECRET_KEY,
        "another key, of 32 characters!!!",
    )
    settings.SECRET_KEY_FALLBACKS = [former]

    # Other columns keep the keys that they have derived.
    columns = [
        (model, field)
        for model, field in encryption.encrypted_columns()
        if model is Authenticator
    ]
    assert encryption.reencrypt(columns).former == 2
    settings.SECRET_KEY_FALLBACKS = []

    stored = Authenticator.objects.get(type="totp").data["secret"]
    assert encryption.decrypt(stored) == secret
    codes = Authenticator.objects.get(type="recovery_codes").wrap()
    assert len(codes.get_unused_codes()) == 10


def test_codes_are_not_guessed(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    secret = add_app(client)
    other = Client()
    log_in(other, "ann@Alpha")
    for number in range(5):
        other.post("/login/second-factor", {"code": f"{number:06}"})

    page = other.post("/login/second-factor", {"code": code_of(secret)})

    assert "Too many failed" in page.content.decode()
    failed = AuditEntry.objects.filter(action="user.login_failed")
    assert {entry.object_id for entry in failed} == {"ann"}
    assert failed[0].changes == {
        "address": [None, "127.0.0.1"],
        "credential": [None, "second factor"],
    }


def test_an_invitation_goes_around_no_second_factor(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    add_app(client)
    _, secret = services.invite_user(ann, now=timezone.now(), by="root")

    other = Client()
    answer = other.post(f"/invite/{secret}", {"password": "another quiet river"})

    assert answer["Location"].startswith("/login/second-factor")
    assert other.get("/app/").status_code == 302


def test_an_operator_removes_a_lost_second_factor(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    add_app(client)

    call_command("remove_second_factors", "ann", "--tenant", "Alpha")

    assert log_in(Client(), "ann@Alpha") == "/app"
    assert logged_actions(action="user.mfa_remove") == [
        ("command line", "cli", "user.mfa_remove", "ann")
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "2fa/app/add"),
        ("get", "2fa/keys/add"),
        ("post", "2fa/codes/new"),
        ("post", "2fa/app/remove"),
        ("post", "email"),
    ],
)
def test_what_changes_the_account_asks_for_the_password_again(
    client: Client, ann: User, method: str, path: str
) -> None:
    client.force_login(ann)
    Authenticator.objects.create(user=ann, type="totp", data={})

    values = {"action_add": "", "email": "ann@example.org"}
    answer = getattr(client, method)(f"/account/{path}", values)

    assert answer["Location"].startswith("/account/confirm")


def test_everything_stands_in_the_audit_log(client: Client, ann: User) -> None:
    before = AuditEntry.objects.order_by("id").last()
    assert before is not None
    other = Client()
    log_in(client, "ann@Alpha", "wrong")
    log_in(client, "ann@Alpha")
    add_app(client)
    Client().post("/login/", {"login": "ann@Alpha", "password": PASSWORD})
    client.post("/account/2fa/app/remove")
    log_in(other, "ann@Alpha")
    client.post("/account/sessions")
    client.post("/logout/")

    assert logged_actions(id__gt=before.pk) == [
        ("somebody", "console", "user.login_failed", "ann"),
        *(
            ("ann@Alpha", "console", action, "ann")
            for action in (
                "user.login",
                "user.mfa_add",
                # The recovery codes.
                "user.mfa_add",
                "user.mfa_remove",
                "user.mfa_remove",
                "user.login",
                "user.end_sessions",
                "user.logout",
            )
        ),
    ]


def test_staff_log_in_on_the_same_page(client: Client, root: User) -> None:
    asked = client.get("/admin/", follow=True)

    path, _ = asked.redirect_chain[-1]
    assert path == "/login?next=%2Fadmin%2F"
    answer = client.post(
        "/login/", {"login": "root", "password": PASSWORD, "next": "/admin/"}
    )
    assert answer["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_staff_without_a_tenant_land_in_the_admin(client: Client, root: User) -> None:
    assert log_in(client, "root") == "/admin/"


def test_the_admin_takes_the_second_factor_of_those_who_have_one(
    client: Client, root: User
) -> None:
    log_in(client, "root")
    secret = add_app(client)

    other = Client()
    values = {"username": "root", "password": PASSWORD}
    other.post("/admin/login/", values)
    assert other.get("/admin/").status_code == 302
    assert log_in(other, "root") == "/login/second-factor"
    assert other.get("/admin/").status_code == 302
    other.post("/login/second-factor", {"code": code_of(secret)})
    assert other.get("/admin/").status_code == 200


def test_a_tenants_user_is_told_that_the_admin_is_not_theirs(
    client: Client, ann: User
) -> None:
    log_in(client, "ann@Alpha")

    assert client.get("/admin/login/").status_code == 403


def test_the_rows_of_the_login_are_not_in_the_admin(client: Client, root: User) -> None:
    client.force_login(root)

    page = client.get("/admin/").content.decode()

    for app in ("/admin/account/", "/admin/mfa/", "/admin/socialaccount/"):
        assert app not in page


def test_a_superuser_with_a_second_factor_enters_the_admin_by_both(
    client: Client, ann: User
) -> None:
    log_in(client, "ann@Alpha")
    secret = add_app(client)
    User.objects.filter(pk=ann.pk).update(is_staff=True, is_superuser=True)

    other = Client()
    asked = other.get("/admin/login/?next=/admin/")
    assert asked["Location"].startswith("/login?next=")
    # The form of Django's own login is not looked at.
    other.post("/admin/login/", {"username": "ann@Alpha", "password": PASSWORD})
    assert other.get("/admin/").status_code == 302
    assert log_in(other, "ann@Alpha") == "/login/second-factor"
    for page in (
        "/admin/",
        "/admin",
        "/admin/tasks_api/task/",
        "/admin/tasks_api/run/",
    ):
        assert other.get(page).status_code == 302, page
    other.post("/login/second-factor", {"code": code_of(secret)})

    assert other.get("/admin/").status_code == 200
