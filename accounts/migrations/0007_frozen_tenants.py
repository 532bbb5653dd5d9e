"""Tenants can be frozen while they move to another database."""

from __future__ import annotations

from django.db import migrations, models

# Each change by a user or an operator writes an entry in its own transaction. So a request
# that was let in just before its tenant froze cannot commit afterwards. The code is that
# of a server that takes no connections at the moment: the caller may try again.
REFUSE_CHANGES = """
    CREATE FUNCTION accounts_refuse_if_frozen() RETURNS trigger
    LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('scheduler.moves_tenant', true) IS DISTINCT FROM 'on'
            AND EXISTS (SELECT FROM accounts_tenant
                WHERE id = NEW.tenant_id AND frozen_at IS NOT NULL)
        THEN
            RAISE EXCEPTION 'The tenant moves to another place; try again soon.'
                USING ERRCODE = 'cannot_connect_now';
        END IF;
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER refuse_if_frozen BEFORE INSERT ON accounts_auditentry
        FOR EACH ROW WHEN (NEW.tenant_id IS NOT NULL AND NEW.via <> 'service')
        EXECUTE FUNCTION accounts_refuse_if_frozen();
"""
LET_CHANGE = """
    DROP TRIGGER refuse_if_frozen ON accounts_auditentry;
    DROP FUNCTION accounts_refuse_if_frozen;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_tenants_with_own_retention")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="frozen_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="moves_to",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="move_id",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="moved_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunSQL(REFUSE_CHANGES, LET_CHANGE),
    ]
