"""Each table says which tenant its rows belong to, or is listed with the reason why not."""

from __future__ import annotations

import pytest
from django.db import connection

TENANT = "Its id is the tenant."
OF_USER = (
    "Its rows are found by their user, who has one tenant. A library owns the table."
)
OF_STAFF = "What staff may do and have done. It belongs to the service."
OF_TASK = (
    "Its rows are found by their task, which refers to them. A library owns the table."
)
SHARED = "Tasks of all tenants share its rows."
OF_SERVICE = "It belongs to the service."
WITHOUT_TENANT = {
    "accounts_tenant": TENANT,
    "accounts_owncell": OF_SERVICE,
    "accounts_plan": "Tenants share its rows.",
    "account_emailaddress": OF_USER,
    "account_emailconfirmation": OF_USER,
    "mfa_authenticator": OF_USER,
    "socialaccount_socialaccount": OF_USER,
    "socialaccount_socialtoken": OF_USER,
    "usersessions_usersession": OF_USER,
    "accounts_user_groups": OF_STAFF,
    "accounts_user_user_permissions": OF_STAFF,
    "auth_group": OF_STAFF,
    "auth_group_permissions": OF_STAFF,
    "auth_permission": OF_STAFF,
    "django_admin_log": OF_STAFF,
    "django_session": "Its rows are read with the key of a browser's cookie alone.",
    "django_celery_beat_periodictask": OF_TASK,
    "django_celery_beat_clockedschedule": OF_TASK,
    "django_celery_beat_crontabschedule": SHARED,
    "django_celery_beat_intervalschedule": SHARED,
    "django_celery_beat_solarschedule": SHARED,
    "django_celery_beat_periodictasks": OF_SERVICE,
    "django_content_type": OF_SERVICE,
    "django_migrations": OF_SERVICE,
    "socialaccount_socialapp": OF_SERVICE,
    "tasks_api_heartbeat": OF_SERVICE,
    "tasks_api_heartbeatgap": OF_SERVICE,
    "tasks_api_rollupsearch": OF_SERVICE,
    "tasks_api_runidkey": OF_SERVICE,
}
# Staff belong to no tenant, and neither do their tokens and what they do for the service.
MAY_BE_OF_NOBODY = {"accounts_auditentry", "accounts_token", "accounts_user"}

LIST_TABLES = """
    SELECT relname::text, (
        SELECT attnotnull OR EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = attrelid AND convalidated
                AND pg_get_constraintdef(oid) = 'CHECK ((tenant_id IS NOT NULL))')
        FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant_id')
    FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition
        AND relnamespace = 'public'::regnamespace
"""


@pytest.fixture
def requires_tenant(db: None) -> dict[str, bool | None]:
    """Whether each table requires a tenant of its rows; None if it has no column for it."""
    with connection.cursor() as cursor:
        cursor.execute(LIST_TABLES)
        return dict(cursor.fetchall())


def test_each_table_has_the_tenant_or_a_reason(
    requires_tenant: dict[str, bool | None],
) -> None:
    without = {table for table, found in requires_tenant.items() if found is None}

    assert without == WITHOUT_TENANT.keys()


def test_the_tenant_is_required_of_each_row(
    requires_tenant: dict[str, bool | None],
) -> None:
    optional = {table for table, found in requires_tenant.items() if found is False}

    assert optional == MAY_BE_OF_NOBODY
