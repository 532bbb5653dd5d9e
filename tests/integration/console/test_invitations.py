"""A link lets one person in, once, with the role that it carries."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from threading import Barrier

import pytest
from django.conf import LazySettings
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import Invitation, Role, Tenant, User, digest
from tests.conftest import tenant_of
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a quiet river bends"
DAY = timedelta(days=1)


def invite(tenant: Tenant, *, name: str = "") -> str:
    _, secret = services.create_invitation(
        tenant, role=Role.MEMBER, now=timezone.now(), by="root", name=name
    )
    return secret


def accept(client: Client, secret: str, **values: str) -> int:
    answer = client.post(f"/invite/{secret}/", {"password": PASSWORD, **values})
    return int(answer.status_code)


def test_the_person_chooses_a_name_and_a_password_and_is_in(
    client: Client, alpha: Tenant
) -> None:
    secret = invite(alpha)
    page = client.get(f"/invite/{secret}/").content.decode()

    assert "Welcome to Alpha" in page
    assert accept(client, secret, name="cleo", email="cleo@example.org") == 302

    cleo = User.objects.get(username="cleo@Alpha")
    assert (cleo.role, cleo.email) == (Role.MEMBER, "cleo@example.org")
    assert cleo.check_password(PASSWORD)
    assert client.get("/app/").status_code == 200
    row = Invitation.objects.get()
    assert row.accepted_at is not None
    assert row.user == cleo


def test_only_the_digest_of_a_link_is_stored(alpha: Tenant) -> None:
    secret = invite(alpha)

    assert Invitation.objects.get().digest == digest(secret)


def test_a_link_works_once(client: Client, alpha: Tenant) -> None:
    secret = invite(alpha)
    accept(client, secret, name="cleo")

    assert Client().get(f"/invite/{secret}/").status_code == 404
    assert accept(Client(), secret, name="dan") == 404
    assert not User.objects.filter(name="dan").exists()


def test_two_people_with_one_link_are_one_user(alpha: Tenant) -> None:
    secret = invite(alpha)
    start = Barrier(2)
    names = iter(["cleo", "dan"])

    def take() -> bool:
        name = next(names)
        start.wait()
        try:
            services.accept_invitation(
                secret, name=name, password=PASSWORD, now=timezone.now()
            )
        except services.InvitationClosed:
            return False
        return True

    assert sorted(run_in_threads(2, take)) == [False, True]
    assert User.objects.filter(name__in=["cleo", "dan"]).count() == 1


def test_a_link_ends(client: Client, alpha: Tenant) -> None:
    secret = invite(alpha)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(minutes=1))

    assert client.get(f"/invite/{secret}/").status_code == 404
    assert accept(client, secret, name="cleo") == 404


def test_nobody_guesses_a_link(client: Client, alpha: Tenant) -> None:
    invite(alpha)

    assert client.get("/invite/guessed/").status_code == 404


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("ann", PASSWORD, "There is a user ann already"),
        ("cleo", "password", "too common"),
        ("cleo", "short", "too short"),
        ("", PASSWORD, "required"),
    ],
)
def test_what_cannot_be_accepted_is_said_and_uses_nothing_up(
    client: Client, alpha: Tenant, name: str, password: str, problem: str
) -> None:
    secret = invite(alpha)

    page = client.post(f"/invite/{secret}/", {"name": name, "password": password})

    assert problem in page.content.decode()
    assert services.find_invitation(secret, now=timezone.now())


def test_a_name_that_the_invitation_says_cannot_be_changed(
    client: Client, alpha: Tenant
) -> None:
    secret = invite(alpha, name="cleo")

    assert accept(client, secret, name="mallory") == 302
    assert User.objects.filter(username="cleo@Alpha").exists()


def test_a_user_who_is_there_chooses_a_password(client: Client, user: User) -> None:
    _, secret = services.invite_user(
        user, now=timezone.now(), by="root", role=Role.ADMIN
    )

    assert accept(client, secret) == 302

    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert user.role == Role.ADMIN


def test_a_deactivated_user_is_not_let_in(client: Client, user: User) -> None:
    _, secret = services.invite_user(user, now=timezone.now(), by="root")
    user = services.change_user(user, is_active=False)

    page = client.post(f"/invite/{secret}/", {"password": PASSWORD})

    assert "used or withdrawn" in page.content.decode()
    with pytest.raises(services.AccountError):
        services.invite_user(user, now=timezone.now(), by="root")


def test_everything_stands_in_the_audit_log(client: Client, alpha: Tenant) -> None:
    accept(client, invite(alpha), name="cleo")

    uuid = str(Invitation.objects.get().uuid)
    found = [entry for entry in logged_actions(tenant=alpha) if entry[3] != "ann"]
    assert found == [
        ("the service", "service", "tenant.create", "Alpha"),
        ("the service", "service", "invitation.create", uuid),
        ("somebody", "console", "user.add", "cleo"),
        ("somebody", "console", "invitation.accept", uuid),
        ("cleo@Alpha", "console", "user.login", "cleo"),
    ]


def test_old_invitations_are_forgotten(alpha: Tenant) -> None:
    invite(alpha)
    Invitation.objects.update(expires_at=timezone.now() - 31 * DAY)
    invite(alpha)

    services.delete_old_invitations(now=timezone.now())

    assert Invitation.objects.count() == 1


# By an administrator.


def link_on(page: str) -> str:
    [secret] = re.findall(r'value="http://testserver/invite/([\w-]+)', page)
    return str(secret)


def test_an_administrator_gets_a_link_and_the_person_the_role(
    admin: Client, tenant_admin: User, settings: LazySettings
) -> None:
    form = {"name": "cleo", "email": "cleo@example.org", "role": "viewer"}
    page = admin.post("/app/settings/members/", form).content.decode()
    secret = link_on(page)

    [sent] = mail.outbox
    assert sent.to == ["cleo@example.org"]
    assert f"http://testserver/invite/{secret}" in sent.body
    assert accept(Client(), secret) == 302
    assert User.objects.get(username="cleo@Alpha").role == Role.VIEWER
    assert logged_actions(action="invitation.create")[0][:2] == (
        "adam@Alpha",
        "console",
    )
    again = admin.get("/app/settings/members/").content.decode()
    assert secret not in again


def test_without_mail_there_is_the_link_alone(
    admin: Client, settings: LazySettings
) -> None:
    settings.SENDS_MAIL = False

    form = {"name": "", "email": "cleo@example.org", "role": "member"}
    page = admin.post("/app/settings/members/", form).content.decode()

    assert link_on(page)
    assert mail.outbox == []


def test_a_mail_that_cannot_be_sent_is_said(
    admin: Client, settings: LazySettings
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    form = {"name": "", "email": "cleo@example.org", "role": "member"}
    page = admin.post("/app/settings/members/", form).content.decode()

    assert link_on(page)
    assert "The mail could not be sent" in page


def test_an_administrator_withdraws_an_invitation(
    admin: Client, alpha: Tenant, beta: Tenant
) -> None:
    secret = invite(alpha, name="cleo")
    uuid = Invitation.objects.get().uuid
    foreign, _ = services.create_invitation(
        beta, role=Role.MEMBER, now=timezone.now(), by="root"
    )
    assert "cleo" in admin.get("/app/settings/members/").content.decode()

    assert admin.post(f"/app/settings/invitations/{uuid}/revoke").status_code == 302

    assert Client().get(f"/invite/{secret}/").status_code == 404
    for other in (uuid, foreign.uuid):
        answer = admin.post(f"/app/settings/invitations/{other}/revoke")
        assert answer.status_code == 404
    assert [each[2] for each in logged_actions(action="invitation.revoke")] == [
        "invitation.revoke"
    ]


def test_only_a_user_without_a_password_gets_a_link_from_an_administrator(
    admin: Client, user: User
) -> None:
    page = admin.post("/app/settings/members/ann/invite").content.decode()
    assert accept(Client(), link_on(page)) == 302

    refused = admin.post("/app/settings/members/ann/invite", follow=True)

    assert "ann has a password" in refused.content.decode()


def test_an_administrator_of_a_tenant_lets_nobody_be_staff(
    admin: Client, user: User
) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)

    refused = admin.post("/app/settings/members/ann/invite", follow=True)

    assert "Only the operators" in refused.content.decode()


# By the command.


def run_invite(*arguments: str) -> str:
    out = StringIO()
    call_command("invite", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_the_command_prints_a_link_for_the_first_administrator(
    db: None, client: Client, settings: LazySettings
) -> None:
    settings.SCHEDULER_PUBLIC_URL = "https://scheduler.example"

    link = run_invite("--tenant", "acme")

    found = re.fullmatch(r"https://scheduler\.example/invite/([\w-]+)", link)
    assert found
    assert accept(client, found[1], name="ann") == 302
    ann = User.objects.get(username="ann@acme")
    assert ann.role == Role.ADMIN
    assert tenant_of(ann).signing_secrets.count() == 1


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 (what an image listens on)
        ("::", "http://[::1]:8000"),
    ],
)
def test_without_a_public_url_the_link_leads_to_this_machine(
    db: None, settings: LazySettings, host: str, base: str
) -> None:
    settings.SCHEDULER_PUBLIC_URL = ""
    settings.HOST, settings.PORT = host, 8000

    assert run_invite("--tenant", "acme").startswith(f"{base}/invite/")


def test_the_command_gives_a_user_who_is_there_another_password(
    client: Client, user: User
) -> None:
    link = run_invite("--tenant", "Alpha", "--user", "ann", "--expires", "1h")

    assert accept(client, link.rpartition("/")[2]) == 302
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_the_command_refuses_a_name_that_cannot_be(db: None) -> None:
    with pytest.raises(CommandError, match="cannot be the name"):
        run_invite("--tenant", "acme", "--user", " ann")
    assert not Tenant.objects.filter(name="acme").exists()
