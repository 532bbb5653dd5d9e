"""Let who erases a user put a pseudonym in the place of the name in the audit log.

As before it guards against mistakes: a transaction must say that it prunes or erases.
"""

from __future__ import annotations

from django.db import migrations

REFUSE = """
    CREATE OR REPLACE FUNCTION accounts_auditentry_refuse() RETURNS trigger AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('scheduler.prunes_audit', true) = 'on'
            {more}
        THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'The audit log is append-only.'
            USING ERRCODE = 'insufficient_privilege';
    END
    $$ LANGUAGE plpgsql;
"""
ERASES = """
            OR TG_OP = 'UPDATE' AND current_setting('scheduler.erases_audit', true) = 'on'
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_notification_url")]

    operations = [migrations.RunSQL(REFUSE.format(more=ERASES), REFUSE.format(more=""))]
