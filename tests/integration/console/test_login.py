"""People log in with a password, choose another one by mail, and end their sessions."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.conf import LazySettings
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import services, throttling
from accounts.models import AuditEntry, User
from tests.integration.support.logins import PASSWORD, log_in

pytestmark = pytest.mark.django_db(transaction=True)

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


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


def test_an_address_is_verified_by_mail_and_then_lets_in(
    client: Client, ann: User
) -> None:
    log_in(client, "ann@Alpha")
    client.post("/account/confirm", {"password": PASSWORD})
    client.post("/account/email", {"email": "ann@example.org", "action_add": ""})
    assert log_in(Client(), "ann@example.org") == ""
    [sent] = mail.outbox
    [path] = re.findall(r"http://testserver(\S+)", str(sent.body))

    page = client.get(path)
    client.post(path)

    assert "ann@example.org" in page.content.decode()
    assert log_in(Client(), "ann@example.org") == "/app"
    changed = AuditEntry.objects.filter(action="user.change", object_id="ann")
    assert changed.get().changes == {"email": [None, "ann@example.org"]}


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


def test_passwords_count_against_the_address_that_proxies_saw(
    ann: User, settings: LazySettings
) -> None:
    settings.TRUSTED_PROXIES, settings.SCHEDULER_MAX_FAILED_LOGINS = 1, 1
    throttling.reset()
    log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:2::7"), "ann@Alpha", "wrong")

    assert log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:2::8"), "ann@Alpha") == ""
    assert log_in(Client(HTTP_X_FORWARDED_FOR="2001:db8:1:3::8"), "ann@Alpha")
