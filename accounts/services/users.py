"""Create, find, change and deactivate users."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import audit
from accounts.activity import report_activity
from accounts.models import Role, Tenant, User
from accounts.services.errors import AccountError, UserExists
from accounts.services.names import check_name, max_length
from accounts.services.tenants import get_or_create_tenant
from scheduler_service.db import clock


@transaction.atomic
def provision_user(tenant_name: str, user_name: str) -> User:
    """The user of this name in this tenant; both are created if absent."""
    tenant, _ = get_or_create_tenant(tenant_name)
    username = compose_username(check_name(User, user_name), tenant)
    defaults = {
        "username": username,
        "password": make_password(None),
        "date_joined": clock.now,
    }
    try:
        user, created = User.objects.get_or_create(
            tenant=tenant, name=user_name, defaults=defaults
        )
    except IntegrityError:
        raise AccountError(
            f"The username {username} belongs to somebody else."
        ) from None
    if created:
        audit.record(tenant.pk, "user.add", [user_name], {"role": (None, user.role)})
    return user


@transaction.atomic
def add_user(tenant: Tenant, name: str, *, role: Role = Role.MEMBER) -> User:
    """Create a user of a tenant. Raises UserExists if the name is taken."""
    username = compose_username(check_name(User, name), tenant)
    user = User(
        tenant=tenant,
        name=name,
        username=username,
        role=role,
        password=make_password(None),
        date_joined=clock.now(),
    )
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise UserExists(f"There is a user {name} already.") from None
    audit.record(tenant.pk, "user.add", [name], {"role": (None, role)})
    return user


@transaction.atomic
def change_user(
    user: User, *, role: Role | None = None, is_active: bool | None = None
) -> User:
    """Change the role of a user, deactivate the user, or activate them again."""
    user = User.objects.select_for_update(no_key=True, of=("self",)).get(pk=user.pk)
    before = {"role": user.role, "is_active": user.is_active}
    if role is not None:
        user.role = role
    if is_active is not None:
        user.is_active = is_active
    after = {"role": user.role, "is_active": user.is_active}
    if changes := audit.find_changes(before, after):
        user.save(update_fields=list(changes))
        audit.record(
            user.tenant_id, _audit_action(changes), [name_in_audit(user)], changes
        )
    if is_active is not None:
        report_activity(user)
    return user


def _audit_action(changes: audit.Changes) -> str:
    if "role" in changes:
        return "user.change"
    return "user.activate" if changes["is_active"][1] else "user.deactivate"


def name_in_audit(user: User) -> str:
    """The name of a user in the audit log of their tenant."""
    return user.name or user.username


def compose_username(name: str, tenant: Tenant | None) -> str:
    username = f"{name}@{tenant}" if tenant else name
    if len(username) > max_length(User, "username"):
        raise AccountError(f"The names are too long together: {username}.")
    return username


def deactivate_user(name: str, *, tenant: str | None = None) -> User:
    """Deactivate a user, given by name or username; their tasks wait."""
    return change_user(find_user(name, tenant=tenant), is_active=False)


def find_user(name: str, *, tenant: str | None = None) -> User:
    """The user of this name or username. Raises AccountError unless there is one."""
    users = User.objects.filter(Q(name=name) | Q(username=name))
    if tenant is not None:
        users = users.filter(tenant__name=tenant)
    match list(users.select_related("tenant").order_by("username")):
        case []:
            raise AccountError(f"There is no user {name}.")
        case [user]:
            return user
        case several:
            names = ", ".join(str(user) for user in several)
            raise AccountError(f"{name} may be any of {names}; say which tenant's.")
