"""Forget a user or a tenant whose tasks are gone: names, tokens, secrets, rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction

from accounts import audit
from accounts.models import Tenant, Token, User
from accounts.services import change_user, configure_tenant, name_in_audit

# Rows in one statement.
BATCH_SIZE = 1000


def close_tenant(tenant: Tenant) -> None:
    """Let nobody act for a tenant any more; what is under way finishes."""
    configure_tenant(tenant.name, shared_secret="", notification_url="")
    for user in tenant.users.order_by("pk"):
        change_user(user, is_active=False)


def pseudonym_of(user: User) -> str:
    pseudonym = f"deleted-user-{user.pk}"
    # Somebody may call themselves that, and would never be renamed.
    return f"{pseudonym}." if pseudonym == user.name else pseudonym


def delete_user(user: User) -> None:
    """Delete a user who has no tasks, with a pseudonym for the name in the audit log.

    The row goes last, so that it may be said again after it was cut off.
    """
    pseudonym, name = pseudonym_of(user), name_in_audit(user)
    while audit.pseudonymize_user(
        user.tenant_id, user.username, name, pseudonym, limit=BATCH_SIZE
    ):
        pass
    _delete_admin_log(User, [user.pk])
    _delete_admin_log(Token, user.tokens.values_list("pk", flat=True))
    with transaction.atomic():
        user.delete()
        audit.record(user.tenant_id, "user.delete", [pseudonym])


def delete_tenant(tenant: Tenant) -> None:
    """Delete a tenant that has no tasks, with its users and its audit log."""
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
    """What the admin's own pages tell of somebody's history has names in it."""
    kind = ContentType.objects.get_for_model(model)
    ids = [str(key) for key in keys]
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {LogEntry._meta.db_table}"  # noqa: S608 (the name of a table)
            " WHERE content_type_id = %s AND object_id = ANY(%s::text[])",
            [kind.pk, ids],
        )
