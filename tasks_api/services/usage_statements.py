"""The SQL that measures what a tenant uses."""

from __future__ import annotations

# Counts the messages of the pull queue of a tenant and the bytes of their payloads, and
# looks at no more than a limit.
COUNT_MESSAGES = """
    SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM (
        SELECT payload FROM tasks_api_message WHERE tenant_id = %(tenant)s
        LIMIT %(limit)s) counted
"""
