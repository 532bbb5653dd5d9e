"""Delete a user or a tenant without tasks, and their names in the logs."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction

from accounts import audit, statements
from accounts.models import Invitation, Tenant, Token, User
from accounts.services import change_user, configure_tenant, name_in_audit, routing

# Entries that one statement deletes or changes.
BATCH_SIZE = 1000


def close_tenant(tenant: Tenant) -> None:
    """Deactivate all users and the shared secret of a tenant; running requests finish."""
    configure_tenant(tenant.name, shared_secret="", notification_url="")
    for user in tenant.users.order_by("pk"):
        change_user(user, is_active=False)


def pseudonym_of(user: User) -> str:
    pseudonym = f"deleted-user-{user.pk}"
    # A user who has this name already would otherwise keep it.
    return f"{pseudonym}." if pseudonym == user.name else pseudonym


def delete_user(user: User) -> None:
    """Delete a user without tasks; the audit log keeps a pseudonym.

    The row goes last, so that an interrupted call can be repeated.
    """
    pseudonym, name = pseudonym_of(user), name_in_audit(user)
    while audit.pseudonymize_user(
        user.tenant_id, user.username, name, pseudonym, limit=BATCH_SIZE
    ):
        pass
    _delete_admin_log(User, [user.pk])
    _delete_admin_log(Token, user.tokens.values_list("pk", flat=True))
    with transaction.atomic():
        by_user = Invitation.objects.filter(created_by=user.username)
        by_user.update(created_by=pseudonym)
        user.delete()
        audit.record(user.tenant_id, "user.delete", [pseudonym])


def delete_tenant(tenant: Tenant, *, lives_elsewhere: bool = False) -> None:
    """Delete a tenant without tasks, with its users and its audit log.

    The directory keeps one that lives elsewhere.
    """
    if not lives_elsewhere:
        routing.forget_tenant(tenant)
    tokens = Token.objects.filter(user__tenant=tenant).values_list("pk", flat=True)
    _delete_admin_log(Token, tokens)
    for user in tenant.users.order_by("pk"):
        _delete_admin_log(User, [user.pk])
        user.delete()
    _delete_admin_log(Tenant, [tenant.pk])
    while audit.delete_tenant_entries(tenant.pk, limit=BATCH_SIZE):
        pass
    with transaction.atomic():
        name, tenant_id = tenant.name, tenant.pk
        tenant.delete()
        audit.delete_tenant_entries(tenant_id, limit=BATCH_SIZE)
        audit.record(None, "tenant.delete", [name])


def _delete_admin_log(model: type[models.Model], keys: Iterable[int]) -> None:
    """Delete what the admin's history pages tell of rows; it contains names."""
    kind = ContentType.objects.get_for_model(model)
    ids = [str(key) for key in keys]
    with connection.cursor() as cursor:
        cursor.execute(statements.DELETE_ADMIN_LOG, [kind.pk, ids])
