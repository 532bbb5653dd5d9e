"""People log in with a password and a second factor, and so do the staff."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.usersessions.models import UserSession
from django.conf import LazySettings
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import encryption, services, throttling
from accounts.models import AuditEntry, User
from tests.integration.support.audit_log import logged_actions

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a quiet river bends"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture(autouse=True)
def _forget_limits() -> None:
    cache.clear()


@pytest.fixture
def ann(user: User) -> User:
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


def log_in(client: Client, login: str, password: str = PASSWORD) -> str:
    """Where the login leads; empty if it is refused."""
    answer = client.post("/login/", {"login": login, "password": password})
    return answer["Location"] if answer.status_code == 302 else ""


def code_of(secret: str) -> str:
    counter = next(iter(yield_hotp_counters_from_time()))
    return str(format_hotp_value(hotp_value(secret, counter)))


def add_app(client: Client) -> str:
    """Set up an authenticator app for who is logged in; returns its secret."""
    client.post("/account/confirm", {"password": PASSWORD})
    page = client.get("/account/2fa/app/add")
    secret = str(page.context["form"].secret)
    assert secret in page.content.decode()
    answer = client.post("/account/2fa/app/add", {"code": code_of(secret)})
    assert answer.status_code == 302
    cache.clear()
    return secret


def test_a_username_and_a_password_let_in(client: Client, ann: User) -> None:
    assert log_in(client, "ann@Alpha") == "/app"
    assert client.get("/app/").status_code == 200


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ann@Alpha", "wrong"),
        ("ann", PASSWORD),
        ("ann@Beta", PASSWORD),
        ("nobody", PASSWORD),
        ("ann@example.org", PASSWORD),
    ],
)
def test_anything_else_does_not(
    client: Client, ann: User, login: str, password: str
) -> None:
    # Anybody could have claimed an address that is not verified.
    EmailAddress.objects.create(user=ann, email="ann@example.org", verified=False)

    assert log_in(client, login, password) == ""
    assert client.get("/app/").status_code == 302


def test_a_verified_address_lets_in(client: Client, ann: User) -> None:
    EmailAddress.objects.create(user=ann, email="ann@example.org", verified=True)

    assert log_in(client, "Ann@Example.org") == "/app"


def test_a_deactivated_user_is_not_let_in_and_put_out(
    client: Client, ann: User
) -> None:
    log_in(client, "ann@Alpha")

    services.change_user(ann, is_active=False)

    assert client.get("/app/").status_code == 302
    assert log_in(Client(), "ann@Alpha") == ""


def test_the_login_goes_on_to_the_page_that_was_asked_for(
    client: Client, ann: User
) -> None:
    asked = client.get("/app/settings/members/")

    assert unquote(asked["Location"]) == "/login?next=/app/settings/members/"
    answer = client.post(
        "/login/",
        {"login": "ann@Alpha", "password": PASSWORD, "next": "/account/sessions"},
    )
    assert answer["Location"] == "/account/sessions"


def test_the_login_leads_to_no_other_site(client: Client, ann: User) -> None:
    answer = client.post(
        "/login/",
        {"login": "ann@Alpha", "password": PASSWORD, "next": "https://evil.example/"},
    )

    assert answer["Location"] == "/app"


def test_a_stranger_locks_nobody_out(ann: User) -> None:
    EmailAddress.objects.create(user=ann, email="ann@example.org", verified=True)
    stranger = Client(REMOTE_ADDR=ELSEWHERE)
    for number in range(20):
        log_in(stranger, ("ann@Alpha", "ann@example.org")[number % 2], "wrong")
    page = stranger.post("/login/", {"login": "ann@Alpha", "password": PASSWORD})

    assert "Too many attempts. Try again in" in page.content.decode()
    assert log_in(Client(REMOTE_ADDR=HERE), "ann@Alpha") == "/app"


def test_a_username_and_an_address_of_one_user_share_their_attempts(
    ann: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_LOGINS = 2
    EmailAddress.objects.create(user=ann, email="ann@example.org", verified=True)
    client = Client(REMOTE_ADDR=HERE)
    log_in(client, "ann@Alpha", "wrong")
    log_in(client, "ann@example.org", "wrong")

    assert log_in(client, "ann@Alpha") == ""


def test_nobody_signs_up(client: Client) -> None:
    answer = client.post(
        "/login/closed", {"username": "eve", "password1": PASSWORD, "email": "e@e.org"}
    )

    assert "Not invited" in answer.content.decode()
    assert not User.objects.filter(username="eve").exists()


def test_a_logout_takes_a_form(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")

    assert client.get("/logout/").status_code == 200
    assert client.get("/app/").status_code == 200
    assert client.post("/logout/")["Location"] == "/login"
    assert client.get("/app/").status_code == 302


# A second factor.


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


def test_what_changes_the_account_asks_for_the_password_again(
    client: Client, ann: User
) -> None:
    client.force_login(ann)

    answer = client.get("/account/2fa/app/add")

    assert answer["Location"].startswith("/account/confirm")


# Passwords.


def test_a_forgotten_password_is_chosen_anew_by_mail(client: Client, ann: User) -> None:
    ann.email = "ann@example.org"
    ann.save()

    client.post("/password/reset/", {"email": "ann@example.org"})
    [sent] = mail.outbox
    [path] = re.findall(r"http://testserver(\S+)", str(sent.body))
    form = client.get(path, follow=True)
    client.post(
        form.request["PATH_INFO"],
        {"password1": "another quiet river", "password2": "another quiet river"},
    )

    assert sent.to == ["ann@example.org"]
    assert log_in(Client(), "ann@Alpha", "another quiet river") == "/app"
    assert Client().get(path, follow=True).status_code == 200
    assert log_in(Client(), "ann@Alpha") == ""


def test_nobody_learns_whether_an_address_is_known(client: Client, ann: User) -> None:
    ann.email = "ann@example.org"
    ann.save()

    answers = [
        client.post("/password/reset/", {"email": email})
        for email in ("ann@example.org", "nobody@example.org")
    ]

    assert {answer["Location"] for answer in answers} == {"/password/reset/sent"}
    assert [sent.to for sent in mail.outbox] == [["ann@example.org"]]


def test_a_mail_server_that_is_away_tells_nothing(
    client: Client, ann: User, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    ann.email = "ann@example.org"
    ann.save()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    answer = client.post("/password/reset/", {"email": "ann@example.org"})

    assert answer["Location"] == "/password/reset/sent"
    assert "A mail could not be sent" in caplog.text


def test_another_password_ends_the_other_sessions(client: Client, ann: User) -> None:
    other = Client()
    log_in(other, "ann@Alpha")
    log_in(client, "ann@Alpha")

    client.post(
        "/account/password/change",
        {
            "oldpassword": PASSWORD,
            "password1": "another quiet river",
            "password2": "another quiet river",
        },
    )

    assert client.get("/app/").status_code == 200
    assert other.get("/app/").status_code == 302


# Sessions.


def test_own_sessions_are_listed_and_ended(client: Client, ann: User) -> None:
    other = Client(REMOTE_ADDR=ELSEWHERE, HTTP_USER_AGENT="an old phone")
    log_in(other, "ann@Alpha")
    log_in(client, "ann@Alpha")

    page = client.get("/account/sessions").content.decode()
    assert "an old phone" in page
    assert ELSEWHERE in page
    client.post("/account/sessions")

    assert client.get("/app/").status_code == 200
    assert other.get("/app/").status_code == 302


def test_expired_sessions_leave_nothing(client: Client, ann: User) -> None:
    log_in(client, "ann@Alpha")
    log_in(Client(), "ann@Alpha")
    Session.objects.filter(pk=client.session.session_key).update(
        expire_date=timezone.now()
    )

    services.delete_expired_sessions()

    assert UserSession.objects.count() == Session.objects.count() == 1


# The log.


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


# The admin.


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


def test_passwords_count_against_the_address_that_proxies_saw(
    ann: User, settings: LazySettings
) -> None:
    settings.TRUSTED_PROXIES, settings.SCHEDULER_MAX_FAILED_LOGINS = 1, 1
    throttling.reset()
    log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:2::7"), "ann@Alpha", "wrong")

    assert log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:2::8"), "ann@Alpha") == ""
    assert log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:3::8"), "ann@Alpha")
