"""Let nobody change an entry of the audit log, and only its retention delete one.

It guards against mistakes, of programs and of people. Who owns the table can lift it.
"""

from __future__ import annotations

from django.db import migrations

SET = """
    CREATE FUNCTION accounts_auditentry_refuse() RETURNS trigger AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('scheduler.prunes_audit', true) = 'on'
        THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'The audit log is append-only.'
            USING ERRCODE = 'insufficient_privilege';
    END
    $$ LANGUAGE plpgsql;
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
        FOR EACH STATEMENT EXECUTE FUNCTION accounts_auditentry_refuse();
"""
RESET = """
    DROP TRIGGER append_only ON accounts_auditentry;
    DROP FUNCTION accounts_auditentry_refuse;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_scopes_and_audit")]

    operations = [migrations.RunSQL(SET, RESET)]
