"""Who may open and change what on the pages, read from their URLs."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, resolve, reverse

from accounts import services
from accounts.models import Invitation, Role, Token, User
from console.urls import urlpatterns
from scheduler_service.http.csp import STRICT_PAGE_POLICY
from tasks_api.models import Calendar, Channel, Lane, NotificationRule
from tests.conftest import MakeTask
from tests.integration.support.calendars import make_calendar
from tests.integration.support.lane_rows import make_lane
from tests.integration.support.logins import browser_of
from tests.integration.support.notices import make_channel, make_rule

pytestmark = pytest.mark.django_db

ARGUMENTS = {
    "name": "ann",
    "invitation_id": str(uuid4()),
    "run_id": str(uuid4()),
    "task_id": str(uuid4()),
    "pk": "1",
    "secret": "guessed",
    "provider_id": "oidc",
    "uidb36": "1",
    "key": "no-key",
    "token_id": str(uuid4()),
    "channel_id": str(uuid4()),
    "rule_id": str(uuid4()),
    "backfill_id": str(uuid4()),
    "calendar": "holidays",
    "action": "pause",
    "lane": "crm",
    "verb": "pause",
}
# Pages that let people in.
OPEN = {
    "account_login",
    "mfa_login_webauthn",
    "mfa_authenticate",
    "account_inactive",
    "account_signup",
    "account_logout",
    "invitation",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "openid_connect_login",
    "openid_connect_callback",
    "socialaccount_login_cancelled",
    "socialaccount_login_error",
    # It says that a mail was sent, and the link in that mail proves who opens it.
    "account_email_verification_sent",
    "account_confirm_email",
}
FOR_ADMINS = {
    "console-members",
    "console-invite-member",
    "console-change-role",
    "console-deactivate",
    "console-activate",
    "console-revoke-invitation",
    "console-signing-secrets",
    "console-rotate-signing-secret",
    "console-check-signature",
    "console-new-channel",
    "console-edit-channel",
    "console-test-channel",
    "console-remove-channel",
    "console-new-rule",
    "console-edit-rule",
    "console-remove-rule",
    "console-audit",
    "console-purge-queue",
    "console-new-lane",
    "console-edit-lane",
    "console-pause-lane",
    "console-resume-lane",
    "console-remove-lane",
    "console-new-calendar",
    "console-edit-days",
    "console-import-days",
    "console-remove-days",
}
READ_BY_ADMINS = {
    "console-audit",
    "console-new-channel",
    "console-edit-channel",
    "console-new-rule",
    "console-edit-rule",
    "console-members",
    "console-signing-secrets",
    "console-rotate-signing-secret",
    "console-check-signature",
    "console-new-lane",
    "console-edit-lane",
    "console-pause-lane",
    "console-new-calendar",
    "console-edit-days",
    "console-import-days",
}
CHANGES = (FOR_ADMINS - READ_BY_ADMINS) | {
    "console-first-call",
    "console-revoke-token",
    "console-renew-token",
    "console-redrive-run",
    "console-cancel-run",
    "console-cancel-runs",
    "console-redrive-runs",
    "console-requeue",
    "console-delete-message",
    "console-change-tasks",
    "console-cancel-backfill",
}


def name_of(route: URLPattern) -> str:
    return str(route.name)


def path_of(route: URLPattern) -> str:
    names = route.pattern.regex.groupindex
    return reverse(name_of(route), kwargs={name: ARGUMENTS[name] for name in names})


def routes(names: set[str]) -> list[URLPattern]:
    return [route for route in urlpatterns if route.name in names]


NAMES = {name_of(route) for route in urlpatterns}
OF_TENANTS = {name for name in NAMES if name.startswith("console-")}


def test_a_page_asks_strangers_to_log_in(client: Client) -> None:
    for path in map(path_of, routes(NAMES - OPEN)):
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code == 302, path
            assert answer["Location"].startswith("/login"), path


def test_the_login_goes_on_to_a_page_and_not_to_a_form(client: Client) -> None:
    page, form = client.get("/app/"), client.post("/app/first-call")

    assert page["Location"] == "/login?next=/app/"
    assert form["Location"] == "/login"


def test_a_part_of_a_page_that_is_asked_for_after_the_session_opens_it_anew(
    client: Client,
) -> None:
    answer = client.get("/app/", headers={"HX-Request": "true"})

    assert (answer.status_code, answer["HX-Refresh"]) == (200, "true")


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_page_for_administrators_is_for_nobody_else(user: User, role: Role) -> None:
    services.change_user(user, role=role)
    browser = browser_of(user)

    for path in map(path_of, routes(FOR_ADMINS)):
        for answer in (browser.get(path), browser.post(path)):
            assert answer.status_code == 403, path
            assert "text/html" in answer["Content-Type"], path


def test_a_viewer_changes_nothing(user: User) -> None:
    services.change_user(user, role=Role.VIEWER)
    browser = browser_of(user)

    for path in map(path_of, routes(OF_TENANTS)):
        assert browser.post(path).status_code == 403, path
        assert not Token.objects.exists(), path


def test_a_form_of_another_site_is_refused(tenant_admin: User, user: User) -> None:
    browser = browser_of(tenant_admin, enforce_csrf_checks=True)

    for path in map(path_of, routes(NAMES)):
        answer = browser.post(path, {"role": "admin", "name": "eve"})

        assert answer.status_code == 403, path
        assert answer["Content-Security-Policy"] == STRICT_PAGE_POLICY, path
        assert User.objects.get(pk=user.pk).role == Role.MEMBER, path
        assert not Invitation.objects.exists(), path


@pytest.mark.parametrize(
    "route",
    [route for route in routes(FOR_ADMINS) if route.pattern.regex.groupindex],
    ids=name_of,
)
def test_what_another_tenant_has_is_not_found(
    tenant_admin: User, stranger: User, route: URLPattern
) -> None:
    assert stranger.tenant is not None
    services.add_user(stranger.tenant, "zoe")
    names = route.pattern.regex.groupindex
    channel = make_channel(stranger)
    make_calendar(stranger, "holidays")
    ids = {
        "name": "zoe",
        "invitation_id": str(invitation_of(stranger).uuid),
        "channel_id": str(channel.pk),
        "rule_id": str(make_rule(stranger, channel, "run.failed").pk),
        "lane": make_lane(stranger).name,
        "calendar": "holidays",
    }
    path = reverse(name_of(route), kwargs={name: ids[name] for name in names})

    answer = browser_of(tenant_admin).post(path, {"role": "admin", "confirmed": "yes"})

    assert answer.status_code == 404
    assert "text/html" in answer["Content-Type"]
    zoe = User.objects.get(name="zoe")
    assert (zoe.role, zoe.is_active) == (Role.MEMBER, True)
    assert Invitation.objects.get().revoked_at is None
    assert (Channel.objects.count(), NotificationRule.objects.count()) == (1, 1)
    assert Lane.objects.get().paused_at is None
    assert Calendar.objects.get().version == 1


def invitation_of(user: User) -> Invitation:
    assert user.tenant is not None
    created, _ = services.create_invitation(
        user.tenant, role=Role.MEMBER, now=user.date_joined, by="bob"
    )
    return created


def test_a_page_has_one_path_with_and_without_a_slash() -> None:
    for route in routes(NAMES):
        path = path_of(route)

        assert {resolve(path).url_name, resolve(f"{path}/").url_name} == {route.name}


@pytest.mark.parametrize("route", routes(NAMES), ids=name_of)
def test_a_page_runs_under_its_policy(tenant_admin: User, route: URLPattern) -> None:
    page = browser_of(tenant_admin).get(path_of(route))

    assert page.status_code in (200, 302, 401, 403, 404, 405)
    if page.status_code == 200:
        assert page["Content-Security-Policy"] == STRICT_PAGE_POLICY
        assert "no-store" in page["Cache-Control"]
        text = page.content.decode()
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick" not in text


def test_the_policy_lets_nothing_inline_run() -> None:
    assert "default-src 'self'" in STRICT_PAGE_POLICY
    assert "unsafe" not in STRICT_PAGE_POLICY


def test_a_change_takes_a_form(tenant_admin: User) -> None:
    browser, found = browser_of(tenant_admin), routes(CHANGES)

    assert len(found) == len(CHANGES)
    for path in map(path_of, found):
        assert browser.get(path).status_code == 405, path


def test_staff_without_a_tenant_are_sent_to_the_admin(db: None) -> None:
    answer = browser_of(User.objects.create_superuser("root", password="x")).get("/app")

    assert answer.status_code == 403
    assert "the admin is your place" in answer.content.decode()


# The overview.


def test_an_empty_overview_teaches_the_first_call(user: User) -> None:
    page = browser_of(user).get("/app/").content.decode()

    assert "<h1>Alpha</h1>" in page
    assert "curl http://testserver/tasks/" in page
    assert "Put a new token into the command" in page


@pytest.mark.parametrize("htmx", [False, True])
def test_the_button_puts_a_token_into_the_command(user: User, htmx: bool) -> None:
    browser = browser_of(user)
    headers = {"HX-Request": "true"} if htmx else {}

    page = browser.post("/app/first-call", headers=headers)

    text = page.content.decode()
    token = Token.objects.get()
    assert token.prefix in text
    assert (token.scope, token.user) == ("write", user)
    assert token.expires_at is not None
    assert ("<!doctype" in text) is not htmx
    assert "no-store" in page["Cache-Control"]


def test_the_overview_waits_for_the_first_task(user: User, make_task: MakeTask) -> None:
    browser = browser_of(user)
    headers = {"HX-Request": "true"}
    waiting = browser.get("/app/", headers=headers).content.decode()
    make_task()
    found = browser.get("/app/", headers=headers).content.decode()

    assert "hx-trigger" in waiting
    assert "<strong>1</strong> task<" in found
    assert "every 3s" in waiting
    assert "every 15s" in found
    assert "<html" not in found


def test_a_viewer_has_no_button(user: User) -> None:
    services.change_user(user, role=Role.VIEWER)

    assert "<button>Put" not in browser_of(user).get("/app/").content.decode()


@pytest.mark.parametrize(
    ("role", "count"), [(Role.MEMBER, 1), (Role.VIEWER, 2), (Role.ADMIN, 2)]
)
def test_the_overview_counts_what_the_user_reaches(
    user: User,
    colleague: User,
    stranger: User,
    make_task: MakeTask,
    role: Role,
    count: int,
) -> None:
    for owner in (user, colleague, stranger):
        make_task(owner)
    services.change_user(user, role=role)

    page = browser_of(user).get("/app/").content.decode()

    assert f"<strong>{count}</strong> task" in page
    assert "curl" not in page


def test_settings_lead_to_the_first_page_that_is_open(
    user: User, tenant_admin: User
) -> None:
    assert browser_of(tenant_admin).get("/app/settings/")["Location"] == (
        "/app/settings/members"
    )
    assert browser_of(user).get("/app/settings/")["Location"] == "/app/settings/tokens"
