"""An administrator sees and changes the users of the tenant, and of no other one."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import services
from accounts.models import Role, User
from tests.integration.support.audit_log import logged_actions

pytestmark = pytest.mark.django_db

MEMBERS = "/app/settings/members/"


def test_the_list_shows_the_users_of_the_tenant(
    admin: Client, user: User, stranger: User
) -> None:
    page = admin.get(MEMBERS).content.decode()

    assert "Members of Alpha" in page
    assert all(f">{name}" in page for name in ("ann", "adam"))
    # As a word: a token on the page may have these letters.
    assert not re.search(r"\bbob\b", page)


def test_the_list_has_pages_that_cost_the_same(
    admin: Client,
    tenant_admin: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    assert tenant_admin.tenant is not None
    for number in range(60):
        services.add_user(tenant_admin.tenant, f"user{number:02}")

    with django_assert_max_num_queries(8):
        first = admin.get(MEMBERS).content.decode()
    second = admin.get(f"{MEMBERS}?after=user48").content.decode()

    assert 'href="?after=user48"' in first
    assert "user48" in first
    assert "user49" not in first
    assert "user49" in second
    assert "More members" not in second
    assert len(first) < 300 * 1024


def test_an_administrator_changes_a_role(admin: Client, user: User) -> None:
    answer = admin.post(f"{MEMBERS}ann/role", {"role": "viewer"}, follow=True)

    user.refresh_from_db()
    assert user.role == Role.VIEWER
    assert "ann is changed" in answer.content.decode()
    assert logged_actions(action="user.change", object_id="ann") == [
        ("adam@Alpha", "console", "user.change", "ann")
    ]


def test_an_administrator_deactivates_and_activates(admin: Client, user: User) -> None:
    browser = Client()
    browser.force_login(user)

    admin.post(f"{MEMBERS}ann/deactivate")
    assert browser.get("/app/").status_code == 302
    assert not User.objects.get(pk=user.pk).is_active
    admin.post(f"{MEMBERS}ann/activate/")

    assert User.objects.get(pk=user.pk).is_active


@pytest.mark.parametrize(
    ("path", "values"), [("role", {"role": "member"}), ("deactivate", {})]
)
def test_an_administrator_always_remains(
    admin: Client, tenant_admin: User, path: str, values: dict[str, str]
) -> None:
    answer = admin.post(f"{MEMBERS}adam/{path}", values, follow=True)

    tenant_admin.refresh_from_db()
    assert (tenant_admin.role, tenant_admin.is_active) == (Role.ADMIN, True)
    assert "You cannot demote or deactivate yourself" in answer.content.decode()


def test_nobody_deactivates_the_staff(admin: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)

    answer = admin.post(f"{MEMBERS}ann/deactivate", follow=True)

    assert "Only the operators" in answer.content.decode()
    assert User.objects.get(pk=user.pk).is_active


def test_there_are_no_other_roles(admin: Client, user: User) -> None:
    answer = admin.post(f"{MEMBERS}ann/role", {"role": "emperor"}, follow=True)

    assert "There is no such role" in answer.content.decode()
    assert User.objects.get(pk=user.pk).role == Role.MEMBER


def test_a_name_with_any_character_has_a_page(
    admin: Client, tenant_admin: User
) -> None:
    assert tenant_admin.tenant is not None
    odd = services.add_user(tenant_admin.tenant, 'ann & "co"?/#%é')
    page = admin.get(MEMBERS)
    [form] = [
        line
        for line in page.content.decode().splitlines()
        if "/deactivate" in line and "ann" in line
    ]
    path = form.partition('action="')[2].partition('"')[0]

    admin.post(path.replace("&amp;", "&"))

    odd.refresh_from_db()
    assert not odd.is_active
