"""Staff do in the admin what their permissions say, and cannot give themselves more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import AuditEntry, Role, Scope, Token, User

pytestmark = pytest.mark.django_db(transaction=True)

StaffWith = Callable[..., User]

TASKS = ("view_task", "add_task", "change_task", "delete_task")
ACCOUNTS = ("add_user", "change_user", "add_token", "change_token", "change_tenant")


@pytest.fixture
def staff_with(client: Client, db: None) -> StaffWith:
    """Staff of these permissions, logged in; who runs the service unless of a tenant."""

    def make(*names: str, **more: Any) -> User:
        user = User.objects.create_user("help", password="x", is_staff=True, **more)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user)
        return user

    return make


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="before")


def page_of(kind: str, row: Any) -> str:
    return reverse(f"admin:accounts_{kind}_change", args=[row.pk])


def run_action(client: Client, kind: str, action: str, *rows: Any) -> Any:
    return client.post(
        reverse(f"admin:accounts_{kind}_changelist"),
        {"action": action, "_selected_action": [row.pk for row in rows]},
        follow=True,
    )


GREATER = {
    "is_staff": "on",
    "is_superuser": "on",
    "is_active": "on",
    "date_joined_0": "2026-11-21",
    "date_joined_1": "10:00:00",
}


def test_staff_who_may_change_users_cannot_rise(
    client: Client, staff_with: StaffWith
) -> None:
    helper = staff_with("view_user", "change_user")
    group = Group.objects.create(name="everything")
    page, every = page_of("user", helper), Permission.objects.first()
    assert every is not None

    client.post(page, {**GREATER, "groups": [group.pk], "user_permissions": [every.pk]})

    helper = User.objects.get(pk=helper.pk)
    assert not helper.is_superuser
    assert helper.groups.count() == 0
    assert helper.user_permissions.count() == 2


def test_staff_make_nobody_else_greater(
    client: Client, staff_with: StaffWith, user: User
) -> None:
    staff_with("view_user", "change_user")

    answer = client.post(
        page_of("user", user), {**GREATER, "role": "admin", "first_name": "Ann"}
    )

    assert answer.status_code == 302
    user.refresh_from_db()
    assert (user.role, user.first_name) == ("admin", "Ann")
    assert (user.is_staff, user.is_superuser) == (False, False)


@pytest.mark.parametrize("greater", ["root", "colleague"])
def test_the_password_of_a_greater_user_is_not_theirs_to_set(
    client: Client, staff_with: StaffWith, root: User, greater: str
) -> None:
    staff_with("view_user", "change_user")
    if greater == "colleague":
        root = User.objects.create_user("other", password="before", is_staff=True)
    new = {"usable_password": "true", "password1": "a-Long-1", "password2": "a-Long-1"}

    answer = client.post(
        reverse("admin:auth_user_password_change", args=[root.pk]), new
    )
    client.post(page_of("user", root), {"is_active": "", "email": "me@example.com"})
    run_action(client, "user", "deactivate", root)

    root.refresh_from_db()
    assert answer.status_code == 403
    assert root.check_password("before")
    assert (root.is_active, root.email) == (True, "")


def test_staff_still_look_after_the_users_of_tenants(
    client: Client, staff_with: StaffWith, user: User, root: User
) -> None:
    staff_with("view_user", "change_user")

    answer = run_action(client, "user", "deactivate", user, root)

    user.refresh_from_db()
    root.refresh_from_db()
    assert (user.is_active, root.is_active) == (False, True)
    assert "1 changed" in answer.content.decode()
    assert "root" in answer.content.decode()


def test_a_group_is_a_superusers_to_change(
    client: Client, staff_with: StaffWith
) -> None:
    helper = staff_with("view_group", "change_group", "add_group", "delete_group")
    group = Group.objects.create(name="helpers")
    helper.groups.add(group)
    every = Permission.objects.values_list("pk", flat=True)
    form = {"name": "helpers", "permissions": list(every)}

    changed = client.post(reverse("admin:auth_group_change", args=[group.pk]), form)
    added = client.post(reverse("admin:auth_group_add"), {**form, "name": "new"})

    assert (changed.status_code, added.status_code) == (403, 403)
    assert group.permissions.count() == 0


def issue_token_in_admin(client: Client, user: User, scope: Scope) -> int:
    """Ask for a token on the admin's page; how many there are then."""
    values = {"user": user.pk, "name": "mine", "scope": scope}
    client.post(reverse("admin:accounts_token_add"), values)
    return Token.objects.count()


@pytest.mark.parametrize(
    ("permissions", "scopes"),
    [
        (("view_user", "add_token"), []),
        (("view_user", "add_token", "view_task"), [Scope.READ]),
        (("view_user", "add_token", *TASKS), [Scope.READ, Scope.WRITE]),
        (("view_user", *TASKS, *ACCOUNTS, "view_auditentry"), list(Scope)),
    ],
)
def test_staff_mint_no_token_that_may_do_more_than_they(
    client: Client,
    staff_with: StaffWith,
    user: User,
    permissions: tuple[str, ...],
    scopes: list[Scope],
) -> None:
    staff_with(*permissions)
    services.change_user(user, role=Role.ADMIN)

    for scope in Scope:
        before = Token.objects.count()
        assert issue_token_in_admin(client, user, scope) == before + (
            scope in scopes
        ), scope


def test_staff_mint_no_token_of_a_greater_user(
    client: Client, staff_with: StaffWith, user: User
) -> None:
    staff_with("view_user", *TASKS, *ACCOUNTS, "view_auditentry")
    User.objects.filter(pk=user.pk).update(is_staff=True)

    assert issue_token_in_admin(client, user, Scope.READ) == 0


def test_staff_of_a_tenant_act_for_that_tenant_alone(
    client: Client, staff_with: StaffWith, user: User, stranger: User
) -> None:
    staff_with(
        "view_user",
        "view_tenant",
        *TASKS,
        *ACCOUNTS,
        "view_auditentry",
        tenant=user.tenant,
    )
    secrets = stranger.tenant.signing_secrets.count()  # type: ignore[union-attr]  # it has a tenant

    assert issue_token_in_admin(client, user, Scope.ADMIN) == 1
    assert issue_token_in_admin(client, stranger, Scope.READ) == 1
    run_action(client, "user", "deactivate", stranger)
    run_action(client, "tenant", "rotate_signing_secrets", stranger.tenant)
    client.post(page_of("tenant", stranger.tenant), {"name": "Mine"})

    stranger.refresh_from_db()
    assert stranger.is_active
    assert stranger.tenant is not None
    assert stranger.tenant.name == "Beta"
    assert stranger.tenant.signing_secrets.count() == secrets


def test_no_token_is_rotated_or_ended_by_staff_who_could_not_mint_it(
    client: Client, staff_with: StaffWith, user: User
) -> None:
    token, _ = services.create_token(user, scope=Scope.WRITE)
    staff_with("view_user", "view_token", "change_token", "view_task")

    rotated = run_action(client, "token", "rotate", token)
    changed = client.post(page_of("token", token), {"name": "mine"})

    assert "sch_" not in rotated.content.decode().replace(token.prefix, "")
    assert changed.status_code == 403
    assert Token.objects.count() == 1
    run_action(client, "token", "revoke", token)
    token.refresh_from_db()
    # To close a door takes less than to open one.
    assert token.revoked_at is not None


def test_the_tokens_of_a_greater_user_are_not_theirs_to_end(
    client: Client, staff_with: StaffWith, user: User
) -> None:
    token, _ = services.create_token(user)
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    staff_with("view_user", "view_token", "change_token", *TASKS)

    run_action(client, "token", "revoke", token)

    token.refresh_from_db()
    assert token.revoked_at is None


def test_a_superuser_does_all_of_it(client: Client, root: User, user: User) -> None:
    client.force_login(root)

    client.post(page_of("user", user), {**GREATER, "role": "member"})

    user.refresh_from_db()
    assert user.is_superuser
    assert issue_token_in_admin(client, user, Scope.ADMIN) == 1
    entry = AuditEntry.objects.get(action="user.change")
    assert entry.changes is not None
    assert entry.changes["is_superuser"] == [False, True]


@pytest.mark.parametrize(
    ("page", "lookup"),
    [
        ("tenant", "shared_secret_digest__startswith"),
        ("token", "digest__startswith"),
        ("user", "password__startswith"),
    ],
)
def test_no_secret_is_found_out_by_searching_for_it(
    client: Client, staff_with: StaffWith, page: str, lookup: str
) -> None:
    staff_with("view_tenant", "view_token", "view_user")

    answer = client.get(reverse(f"admin:accounts_{page}_changelist"), {lookup: "a"})

    assert answer.status_code == 400


def test_a_tenant_does_not_lock_out_the_staff_of_the_service(
    user: User, colleague: User, client_for: Callable[[User], Any]
) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    boss = client_for(services.change_user(colleague, role=Role.ADMIN))

    answer = boss.patch("/users/ann", {"is_active": False}, format="json")

    assert answer.status_code == 403
    assert User.objects.get(pk=user.pk).is_active
