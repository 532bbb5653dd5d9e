"""Take the credentials of tenants' URLs out of the audit log, where they stood in clear.

As before, a transaction says to the trigger that it erases. What is taken out is gone, so
there is nothing to go back to. The columns themselves change in what they may hold, and
tasks_api.0023 seals that.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, transaction

from accounts.fields import SealedUrlField

# Entries in one statement.
BITE = 1000
ERASE = """
    WITH told AS MATERIALIZED (
        SELECT id FROM accounts_auditentry
        WHERE action IN ('tenant.change', 'tenant.create') AND id > %(after)s::uuid
        ORDER BY id LIMIT %(bite)s
    ), erased AS (
        UPDATE accounts_auditentry entry SET changes = (
            SELECT jsonb_object_agg(name, CASE
                WHEN name IN ('callback_url', 'notification_url') THEN (
                    SELECT jsonb_agg(
                        CASE jsonb_typeof(value) WHEN 'string' THEN to_jsonb(regexp_replace(
                            value #>> '{}', '^(https?://)[^/?#]*@', '\\1***@', 'i'))
                        ELSE value END ORDER BY place)
                    FROM jsonb_array_elements(pair) WITH ORDINALITY AS of(value, place))
                ELSE pair END)
            FROM jsonb_each(changes) AS of(name, pair))
        FROM told WHERE entry.id = told.id AND changes::text ~* '"https?://[^/?#"]*@'
    )
    SELECT max(id::text) FROM told
"""


def erase(apps: Any, schema_editor: Any) -> None:
    after = "00000000-0000-0000-0000-000000000000"
    while after:
        with transaction.atomic(), schema_editor.connection.cursor() as cursor:
            cursor.execute("SET LOCAL scheduler.erases_audit = 'on'")
            cursor.execute(ERASE, {"after": after, "bite": BITE})
            [after] = cursor.fetchone()


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("accounts", "0008_the_database_says_when_rows_are_made")]

    operations = [
        migrations.AlterField(
            "tenant",
            "callback_url",
            SealedUrlField(
                blank=True, help_text="Where the timers of this tenant are delivered."
            ),
        ),
        migrations.AlterField(
            "tenant",
            "notification_url",
            SealedUrlField(
                blank=True,
                default="",
                db_default="",
                help_text="Where this tenant is told that tasks were paused or ended for it.",
            ),
        ),
        migrations.RunPython(erase, migrations.RunPython.noop),
    ]
