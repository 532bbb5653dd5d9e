"""The SQL of the directory, which is a small database of its own."""

from __future__ import annotations

# Rows are never deleted: a tenant or a credential that is gone keeps a row without a
# cell or a tenant, so that doors hear of it, and no id is given out twice.
CREATE_TABLES = """
    CREATE TABLE IF NOT EXISTS directory_cell (
        name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,29}$'),
        number integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        servers text[] NOT NULL,
        host text UNIQUE,
        created_at timestamptz NOT NULL DEFAULT now()
    );
    -- The URL of its database past any pooler, encrypted.
    ALTER TABLE directory_cell ADD COLUMN IF NOT EXISTS database text;
    CREATE SEQUENCE IF NOT EXISTS directory_version;
    CREATE TABLE IF NOT EXISTS directory_tenant (
        id bigint PRIMARY KEY
            CONSTRAINT directory_tenant_id_range CHECK (id BETWEEN 1 AND 1048575),
        name text UNIQUE,
        cell text REFERENCES directory_cell,
        version bigint NOT NULL
    );
    CREATE INDEX IF NOT EXISTS directory_tenant_version ON directory_tenant (version);
    CREATE INDEX IF NOT EXISTS directory_tenant_cell ON directory_tenant (cell);
    CREATE TABLE IF NOT EXISTS directory_credential (
        digest text PRIMARY KEY,
        tenant_id bigint REFERENCES directory_tenant,
        version bigint NOT NULL
    );
    CREATE INDEX IF NOT EXISTS directory_credential_version
        ON directory_credential (version);
    CREATE INDEX IF NOT EXISTS directory_credential_tenant
        ON directory_credential (tenant_id);
    -- The key of the ids of runs that all cells share, encrypted.
    CREATE TABLE IF NOT EXISTS directory_run_key (
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        key text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS directory_door (
        name text PRIMARY KEY,
        version bigint NOT NULL,
        servers_up jsonb NOT NULL,
        seen_at timestamptz NOT NULL
    );
"""
CHANNEL = "scheduler_directory"
NOTIFY = f"NOTIFY {CHANNEL}"
LISTEN = f"LISTEN {CHANNEL}"

# Store a cell, or change its servers and its host; and its database, if that is given.
PUT_CELL = """
    INSERT INTO directory_cell AS known (name, servers, host, database)
    VALUES (%(name)s, %(servers)s, nullif(%(host)s, ''), nullif(%(database)s, ''))
    ON CONFLICT (name) DO UPDATE SET servers = excluded.servers, host = excluded.host,
        database = coalesce(excluded.database, known.database)
    RETURNING name, number, servers, coalesce(host, '')
"""
LIST_CELLS = """
    SELECT cell.name, cell.number, cell.servers, coalesce(cell.host, ''),
        (SELECT count(*) FROM directory_tenant tenant WHERE tenant.cell = cell.name)
    FROM directory_cell cell
    ORDER BY cell.number
"""
FIND_DATABASE = "SELECT database FROM directory_cell WHERE name = %(name)s"
FIND_TENANT = "SELECT id, name, cell FROM directory_tenant WHERE name = %(name)s"
FIND_TENANT_BY_ID = "SELECT id, name, cell FROM directory_tenant WHERE id = %(id)s"
NEW_TENANT = """
    INSERT INTO directory_tenant (id, name, cell, version)
    SELECT coalesce(max(id), 0) + 1, %(name)s, %(cell)s, nextval('directory_version')
    FROM directory_tenant
    RETURNING id
"""
# Store the tenants that a cell has already.
PUT_TENANTS = """
    INSERT INTO directory_tenant (id, name, cell, version)
    SELECT id, name, %(cell)s, nextval('directory_version')
    FROM unnest(%(ids)s::bigint[], %(names)s::text[]) given (id, name)
    ON CONFLICT DO NOTHING
"""
# The first tenant whose name, id or cell the directory has otherwise.
FIND_CONFLICT = """
    SELECT given.id, given.name
    FROM unnest(%(ids)s::bigint[], %(names)s::text[]) given (id, name)
    LEFT JOIN directory_tenant known
        ON known.id = given.id AND known.name = given.name AND known.cell = %(cell)s
    WHERE known.id IS NULL
    ORDER BY given.id LIMIT 1
"""
RENAME_TENANT = "UPDATE directory_tenant SET name = %(name)s WHERE id = %(id)s"
# Send the requests of a tenant to another cell; null: to none.
FLIP_TENANT = """
    UPDATE directory_tenant SET cell = %(cell)s, version = nextval('directory_version')
    WHERE id = %(id)s
    RETURNING version
"""
# The same for many tenants; those that are there already stay as they are.
FLIP_TENANTS = """
    UPDATE directory_tenant SET cell = %(cell)s, version = nextval('directory_version')
    WHERE id = ANY(%(ids)s::bigint[]) AND cell IS DISTINCT FROM %(cell)s
"""
LIST_TENANTS_OF = "SELECT id FROM directory_tenant WHERE cell = %(cell)s"
# Its row stays, without a name, so that another tenant may have the name. A tenant that
# has moved to another cell is not forgotten here.
FORGET_TENANT = """
    UPDATE directory_tenant
    SET name = NULL, cell = NULL, version = nextval('directory_version')
    WHERE id = %(tenant)s AND cell = %(cell)s
"""
FORGET_CREDENTIAL = """
    UPDATE directory_credential
    SET tenant_id = NULL, version = nextval('directory_version')
    WHERE tenant_id = %(tenant)s AND digest = %(digest)s
"""
FORGET_ALL_CREDENTIALS = """
    UPDATE directory_credential credential
    SET tenant_id = NULL, version = nextval('directory_version')
    FROM directory_tenant tenant
    WHERE tenant.id = %(tenant)s AND tenant.cell = %(cell)s
        AND credential.tenant_id = tenant.id
"""
# Store credentials; returns those that no other tenant has.
PUT_CREDENTIALS = """
    INSERT INTO directory_credential (digest, tenant_id, version)
    SELECT digest, tenant_id, nextval('directory_version')
    FROM unnest(%(tenants)s::bigint[], %(digests)s::text[]) given (tenant_id, digest)
    ON CONFLICT (digest) DO UPDATE
        SET tenant_id = excluded.tenant_id, version = excluded.version
        WHERE directory_credential.tenant_id IS NULL
            OR directory_credential.tenant_id = excluded.tenant_id
    RETURNING digest
"""
LOAD_TENANTS = """
    SELECT id, cell, version FROM directory_tenant WHERE version > %(since)s
"""
LOAD_CREDENTIALS = """
    SELECT digest, tenant_id, version FROM directory_credential WHERE version > %(since)s
"""
RECORD_DOOR = """
    INSERT INTO directory_door (name, version, servers_up, seen_at)
    VALUES (%(name)s, %(version)s, %(servers_up)s, now())
    ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, servers_up = excluded.servers_up, seen_at = now()
"""
# Doors that nobody has heard of for a day were taken down.
LIST_DOORS = """
    SELECT name, version, servers_up, extract(epoch FROM now() - seen_at)::float
    FROM directory_door WHERE seen_at > now() - interval '1 day' ORDER BY name
"""
NEWEST_VERSION = """
    SELECT greatest(
        (SELECT max(version) FROM directory_tenant),
        (SELECT max(version) FROM directory_credential), 0
    )
"""

# Store the key of the ids of runs, if no cell has brought one yet; and read it.
OFFER_RUN_KEY = """
    INSERT INTO directory_run_key (key) VALUES (%(key)s) ON CONFLICT DO NOTHING
"""
FIND_RUN_KEY = "SELECT key FROM directory_run_key"

# What follows is for the database of a cell.

READ_RUN_KEY = "SELECT key FROM tasks_api_runidkey"
# Take the key of run ids of other cells, if no task was ever fired by this one's.
TAKE_RUN_KEY = """
    UPDATE tasks_api_runidkey SET key = %(key)s
    WHERE NOT EXISTS (SELECT FROM tasks_api_task)
        AND NOT EXISTS (SELECT FROM tasks_api_run)
"""

# Let each sequence of 64 bits begin at the first id of the cell, so that the rows of a
# tenant keep their ids in another cell. The directory gives the ids of tenants.
RAISE_SEQUENCES = """
    SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, %(first)s, false)
    FROM pg_sequences
    WHERE schemaname = current_schema() AND data_type = 'bigint'::regtype
        AND sequencename <> 'accounts_tenant_id_seq'
        AND coalesce(last_value, 0) < %(first)s
"""
# The tokens of an earlier release name no tenant, and their stored prefixes are longer.
TOKENS_WITHOUT_TENANT = """
    SELECT tenant_id, digest FROM accounts_token
    WHERE tenant_id IS NOT NULL AND length(prefix) = 12 AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > now())
    UNION ALL
    SELECT id, shared_secret_digest FROM accounts_tenant
    WHERE shared_secret_digest IS NOT NULL
"""
