"""Seal the credentials in URLs that were stored in clear: of tasks and of tenants.

Workers of the release before would take what is sealed for the credentials themselves. So
where one is alive, or a beat that speaks of one to come, nothing is sealed now, and
`manage.py reencrypt_secrets` does it once they are gone. A check says so until then.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

from accounts import encryption
from accounts.fields import SealedUrlField
from tasks_api.monitoring.heartbeats import ALIVE_FOR

COLUMNS = (
    ("tasks_api", "Task", "url"),
    ("accounts", "Tenant", "callback_url"),
    ("accounts", "Tenant", "notification_url"),
)


def seal(apps: Any, schema_editor: Any) -> None:
    if not is_anybody_alive(schema_editor.connection):
        encryption.reencrypt(columns(apps))


def unseal(apps: Any, schema_editor: Any) -> None:
    encryption.unseal_urls(columns(apps))


def columns(apps: Any) -> list[Any]:
    models = [(apps.get_model(app, model), name) for app, model, name in COLUMNS]
    return [(model, model._meta.get_field(name)) for model, name in models]


def is_anybody_alive(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM tasks_api_heartbeat"
            " WHERE seen_at > now() - make_interval(secs => %s))",
            [ALIVE_FOR.total_seconds()],
        )
        return bool(cursor.fetchone()[0])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0009_credentials_in_urls"),
        ("tasks_api", "0022_run_slot"),
    ]

    operations = [
        migrations.AlterField("task", "url", SealedUrlField(blank=True)),
        migrations.RunPython(seal, unseal),
    ]
