"""The SQL that measures what a tenant uses."""

from __future__ import annotations

# Counts the messages of the pull queue of a tenant and the bytes of their payloads, and
# looks at no more than a limit.
COUNT_MESSAGES = """
    SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM (
        SELECT payload FROM tasks_api_message WHERE tenant_id = %(tenant)s
        LIMIT %(limit)s) counted
"""

# Counts the living tasks of a tenant, which its users share.
COUNT_LIVING_TASKS = """
    SELECT coalesce(sum(tasks), 0)::bigint FROM tasks_api_tasktally
    WHERE surface <> 'notices' AND owner_id IN (
        SELECT id FROM accounts_user WHERE tenant_id = %(tenant)s)
"""
