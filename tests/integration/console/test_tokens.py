"""The page of tokens: issued and shown once, rotated, revoked, and nobody else's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Scope, Token, User
from tasks_api.domain.bounds import Bounds
from tests.conftest import tenant_of
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.statements import captured_statements

pytestmark = pytest.mark.django_db

TOKENS = "/app/settings/tokens/"
NEW = {"name": "deploy", "scope": "write", "lifetime": "90"}


@pytest.fixture
def browser(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def token_in(page: str) -> str:
    return page.partition('id="token">')[2].partition("<")[0]


def call_with(clear_text: str) -> int:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {clear_text}")
    return api.get("/tasks/").status_code


def make(user: User, name: str = "deploy") -> Token:
    token, _ = services.create_token(user, name=name)
    return token


def test_a_token_is_issued_and_shown_once(browser: Client, user: User) -> None:
    issued = browser.post(f"{TOKENS}new", NEW)

    clear_text = token_in(issued.content.decode())
    token = Token.objects.get()
    assert clear_text.startswith(token.prefix)
    assert "no-store" in issued["Cache-Control"]
    assert call_with(clear_text) == 200
    assert (token.user, token.name, token.scope) == (user, "deploy", Scope.WRITE)
    assert token.expires_at is not None
    left = token.expires_at - timezone.now()
    assert timedelta(days=89) < left <= timedelta(days=90)
    page = browser.get(TOKENS).content.decode()
    assert token.prefix in page
    assert clear_text not in page
    [entry] = logged_actions(action="token.issue")
    assert entry == ("ann@Alpha", "console", "token.issue", str(token.uuid))


def test_a_new_token_writes_for_90_days_unless_told_otherwise(browser: Client) -> None:
    page = browser.get(f"{TOKENS}new").content.decode()

    assert '<option value="write" selected>' in page
    assert '<option value="90" selected>' in page


def test_a_token_may_last_forever(browser: Client) -> None:
    browser.post(f"{TOKENS}new", {**NEW, "lifetime": "0"})

    assert Token.objects.get().expires_at is None


@pytest.mark.parametrize(
    "wrong", [{"scope": "root"}, {"lifetime": "31"}, {"name": "x" * 101}]
)
def test_a_token_that_cannot_be_issued_is_refused_in_the_form(
    browser: Client, wrong: dict[str, str]
) -> None:
    page = browser.post(f"{TOKENS}new", NEW | wrong).content.decode()

    assert 'class="error" role="alert"' in page
    assert not Token.objects.exists()


def test_an_administrator_issues_a_token_for_a_member(
    admin: Client, user: User
) -> None:
    admin.post(f"{TOKENS}new", {**NEW, "owner": "ann"})

    assert Token.objects.get().user == user


def test_a_token_for_nobody_is_refused(admin: Client) -> None:
    page = admin.post(f"{TOKENS}new", {**NEW, "owner": "zoe"}).content.decode()

    assert "There is no user zoe." in page


def test_a_member_issues_tokens_for_nobody_else(
    browser: Client, user: User, colleague: User
) -> None:
    browser.post(f"{TOKENS}new", {**NEW, "owner": "adam"})

    assert Token.objects.get().user == user


def test_members_see_their_own_tokens_and_administrators_all(
    user: User, tenant_admin: User, stranger: User
) -> None:
    for owner in (user, tenant_admin, stranger):
        make(owner, f"of {owner.name}")

    pages = {}
    for person in (user, tenant_admin):
        browser = Client()
        browser.force_login(person)
        pages[person] = browser.get(TOKENS).content.decode()

    assert "of ann" in pages[user]
    assert "of adam" not in pages[user]
    assert all(f"of {name}" in pages[tenant_admin] for name in ("ann", "adam"))
    assert "of bob" not in pages[tenant_admin]


@pytest.mark.parametrize("path", ["rotate", "revoke"])
@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_what_others_have_is_not_found(
    browser: Client, user: User, colleague: User, stranger: User, path: str, role: Role
) -> None:
    services.change_user(user, role=role)
    token = make(colleague if role == Role.MEMBER else stranger)

    answer = browser.post(
        f"{TOKENS}{token.uuid}/{path}", {"confirmed": "yes", "overlap": "0"}
    )

    assert answer.status_code == 404
    assert list(Token.objects.filter(revoked_at=None, expires_at=None)) == [token]


def test_rotation_shows_the_new_token_and_the_old_one_works_on(
    browser: Client, user: User
) -> None:
    old = make(user)
    path = f"{TOKENS}{old.uuid}/rotate"
    assert '<option value="86400" selected>' in browser.get(path).content.decode()

    page = browser.post(path, {"overlap": "3600"}).content.decode()

    assert call_with(token_in(page)) == 200
    old.refresh_from_db()
    assert old.expires_at is not None
    assert old.expires_at - timezone.now() <= timedelta(hours=1)
    assert [action for _, _, action, _ in logged_actions(object_id=str(old.uuid))] == [
        "token.issue",
        "token.rotate",
    ]


def test_an_ended_token_is_not_rotated(browser: Client, user: User) -> None:
    old = make(user)
    services.revoke_tokens(Token.objects.all(), now=timezone.now())

    answer = browser.post(
        f"{TOKENS}{old.uuid}/rotate", {"overlap": "3600"}, follow=True
    )

    assert "revoked or has expired" in answer.content.decode()


def test_revoking_asks_first(browser: Client, user: User) -> None:
    token, clear_text = services.create_token(user, name="old laptop")
    path = f"{TOKENS}{token.uuid}/revoke"

    question = browser.post(path).content.decode()
    before = call_with(clear_text)
    answer = browser.post(path, {"confirmed": "yes"}, follow=True).content.decode()

    assert "Revoke the token old laptop?" in question
    assert (before, call_with(clear_text)) == (200, 401)
    assert "is revoked" in answer
    assert token.prefix not in answer
    assert token.prefix in browser.get(f"{TOKENS}?ended=yes").content.decode()


def test_a_viewer_sees_own_tokens_and_no_buttons(browser: Client, user: User) -> None:
    make(user, "old")
    services.change_user(user, role=Role.VIEWER)

    page = browser.get(TOKENS).content.decode()

    assert "old" in page
    assert not any(word in page for word in ("New token", "Revoke", "Rotate"))


def test_the_list_has_pages_that_cost_the_same(
    admin: Client,
    tenant_admin: User,
    user: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(60):
        make(user if number % 2 else tenant_admin, f"token{number:02}")

    with django_assert_max_num_queries(5):
        first = admin.get(TOKENS).content.decode()
    cursor = Token.objects.get(name="token10").pk
    second = admin.get(f"{TOKENS}?after={cursor}").content.decode()

    assert f'href="?after={cursor}"' in first
    assert all(f"token{n}" in first for n in (10, 59))
    assert "token09" in second
    assert "token10" not in second


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "9" * 19, "²"])
def test_any_cursor_has_a_page(browser: Client, user: User, after: str) -> None:
    assert browser.get(TOKENS, {"after": after}).status_code == 200


def test_an_empty_list_says_what_tokens_are_for(browser: Client) -> None:
    assert "Issue the first one" in browser.get(TOKENS).content.decode()


def test_a_deactivated_member_gets_no_token(admin: Client, user: User) -> None:
    services.change_user(user, is_active=False)

    page = admin.post(f"{TOKENS}new", {**NEW, "owner": "ann"}).content.decode()

    assert "is deactivated" in page
    assert not Token.objects.filter(user__tenant=tenant_of(user)).exists()


# Bounds.

BOUNDED = {
    **NEW,
    "hosts": "api.example.com, other.example.com:8443",
    "paths": "/hooks/",
    "methods": "post",
    "tags": "agent, made by a machine",
    "runs_per_day": "100",
    "horizon": "604800",
    "renew_within": "86400",
}


def bounded(user: User, **bounds: Any) -> Token:
    token, _ = services.create_token(user, name="agent", bounds=Bounds(**bounds))
    return token


def test_a_token_gets_the_bounds_of_the_form(browser: Client, user: User) -> None:
    issued = browser.post(f"{TOKENS}new", BOUNDED).content.decode()

    token = Token.objects.get()
    assert token.bounds is not None
    assert services.show_bounds(token.bounds) == {
        "hosts": ["api.example.com", "other.example.com:8443"],
        "paths": ["/hooks/"],
        "methods": ["POST"],
        "tags": ["agent", "made by a machine"],
        "runs_per_day": 100,
        "horizon": 604800,
        "renew_within": 86400,
    }
    words = "Its tasks call only api.example.com or other.example.com:8443."
    assert words in issued
    page = browser.get(f"{TOKENS}{token.uuid}").content.decode()
    for sentence in (
        words,
        "They call only /hooks/, and what is below.",
        "They send only POST.",
        "At most 100 requests of them start in any 24 hours.",
        "All fire times of a task lie within 7 days of its last change.",
        "What it made ends 1 day after its last renewal.",
        'aria-label="Requests in any 24 hours: 0 of 100"',
    ):
        assert sentence in page
    listed = browser.get(TOKENS).content.decode()
    assert words in listed
    assert "Requests in any 24 hours: 0 of 100" in listed


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"hosts": "https://a/b"}, "A host has no path"),
        ({"paths": "hooks"}, "A path begins with /"),
        ({"methods": "TRACE"}, "A method is one of GET"),
        ({"runs_per_day": "100001"}, "at most 100000"),
        ({"runs_per_day": "0"}, "greater than or equal to 1"),
        ({"tasks": "9" * 12}, "a whole number from 1 to"),
        ({"horizon": "7"}, "Select a valid choice"),
    ],
)
def test_a_bound_that_cannot_be_is_told_at_its_field(
    browser: Client, wrong: dict[str, str], error: str
) -> None:
    page = browser.post(f"{TOKENS}new", NEW | wrong).content.decode()

    assert error in page
    assert "<details open>" in page
    assert not Token.objects.exists()


def test_a_token_without_bounds_says_so(browser: Client, user: User) -> None:
    token = make(user)

    page = browser.get(f"{TOKENS}{token.uuid}").content.decode()

    assert "It has no bounds" in page
    assert "Renew" not in page


def test_renewing_lets_what_was_made_go_on(browser: Client, user: User) -> None:
    token = bounded(user, renew_within=7 * 86400)
    assert token.bounds is not None
    soon = timezone.now() + timedelta(hours=1)
    type(token.bounds).objects.update(ends_at=soon)
    page = browser.get(f"{TOKENS}{token.uuid}").content.decode()
    assert f"{soon:%Y-%m-%d %H:%M:%S} UTC" in page

    done = browser.post(f"{TOKENS}{token.uuid}/renew", follow=True).content.decode()

    token.bounds.refresh_from_db()
    assert token.bounds.ends_at is not None
    assert token.bounds.ends_at > soon + timedelta(days=6)
    assert f"goes on until {token.bounds.ends_at:%Y-%m-%d %H:%M:%S} UTC" in done
    [entry] = logged_actions(action="token.renew")
    assert entry == ("ann@Alpha", "console", "token.renew", str(token.uuid))


def test_what_needs_no_renewal_is_not_renewed(browser: Client, user: User) -> None:
    token = bounded(user, tasks=3)

    done = browser.post(f"{TOKENS}{token.uuid}/renew", follow=True).content.decode()

    assert "need no renewal" in done
    assert "<button>Renew" not in done


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_a_token_of_others_is_not_found(
    browser: Client, user: User, colleague: User, stranger: User, role: Role
) -> None:
    services.change_user(user, role=role)
    token = bounded(colleague if role == Role.MEMBER else stranger, renew_within=60)
    assert token.bounds is not None

    for answer in (
        browser.get(f"{TOKENS}{token.uuid}"),
        browser.post(f"{TOKENS}{token.uuid}/renew"),
    ):
        assert answer.status_code == 404
    ends_at = token.bounds.ends_at
    token.bounds.refresh_from_db()
    assert token.bounds.ends_at == ends_at


def test_a_viewer_sees_a_token_and_no_buttons(browser: Client, user: User) -> None:
    token = bounded(user, renew_within=60)
    services.change_user(user, role=Role.VIEWER)

    page = browser.get(f"{TOKENS}{token.uuid}").content.decode()

    assert "agent" in page
    assert not any(word in page for word in (">Renew<", "Revoke", "Rotate"))
    assert browser.post(f"{TOKENS}{token.uuid}/renew").status_code == 403


def test_a_rotated_token_keeps_its_bounds(browser: Client, user: User) -> None:
    old = bounded(user, tasks=3)

    page = browser.post(f"{TOKENS}{old.uuid}/rotate", {"overlap": "0"})

    assert "At most 3 tasks of it are there at a time." in page.content.decode()
    assert Token.objects.filter(bounds=old.bounds).count() == 2


def count_statements(browser: Client) -> int:
    with captured_statements() as sent:
        browser.get(TOKENS)
    return len(sent)


def test_the_list_costs_the_same_with_many_bounds(browser: Client, user: User) -> None:
    bounded(user, runs_per_day=5, tasks=5)
    few = count_statements(browser)
    for _ in range(8):
        bounded(user, runs_per_day=5, tasks=5)

    assert count_statements(browser) == few
