"""The SQL of what tenants use, and of what is stuck or overdue, for operators."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from tasks_api.domain.specs import summary

# Messages of a tenant that are counted; a larger number tells an operator nothing more.
MAX_COUNTED_MESSAGES = 1000


class TenantUsage(NamedTuple):
    """What a tenant has and does; the runs are those of the last 24 closed hours."""

    tenant_id: int
    tasks: int
    runs: int
    # Up to MAX_COUNTED_MESSAGES and one more.
    messages: int
    last_active_at: datetime | None


class OverdueTask(NamedTuple):
    """A task whose fire time has come, and that no worker has taken."""

    id: UUID
    name: str
    method: str
    url: str
    queue: str
    tenant_id: int
    tenant: str
    due_at: datetime

    @property
    def label(self) -> str:
        return summary(
            name=self.name, method=self.method, url=self.url, queue=self.queue
        )


class StuckRun(NamedTuple):
    """A run that nobody has handled at its moment."""

    id: UUID
    task_id: UUID
    name: str
    method: str
    url: str
    queue: str
    tenant_id: int
    tenant: str
    state: str
    scheduled_for: datetime
    wake_at: datetime

    @property
    def label(self) -> str:
        return summary(
            name=self.name, method=self.method, url=self.url, queue=self.queue
        )


class FullTenant(NamedTuple):
    """A tenant that has as many requests under way as it may have."""

    id: int
    name: str
    running: int
    limit: int


# Reads of each tenant: the tallies of its users, a day of rollups, an index of messages,
# and the newest login, use of a token and run.
READ_USAGE = f"""
    SELECT tenant.id AS tenant_id,
        coalesce((SELECT sum(tally.tasks) FROM tasks_api_tasktally tally
            JOIN accounts_user owner ON owner.id = tally.owner_id
            WHERE owner.tenant_id = tenant.id), 0)::bigint AS tasks,
        coalesce((SELECT sum(value::bigint) FROM tasks_api_hourrollup rollup,
            jsonb_each_text(rollup.counts) AS counted(name, value)
            WHERE rollup.tenant_id = tenant.id AND rollup.owner_id = 0
                AND rollup.hour >= now() - '25 hours'::interval
                AND name LIKE 'runs:%%'), 0)::bigint AS runs,
        (SELECT count(*) FROM (SELECT FROM tasks_api_message
            WHERE tenant_id = tenant.id LIMIT {MAX_COUNTED_MESSAGES + 1}) AS counted)
            AS messages,
        greatest(
            (SELECT max(last_login) FROM accounts_user WHERE tenant_id = tenant.id),
            (SELECT max(token.last_used_at) FROM accounts_token token
             JOIN accounts_user owner ON owner.id = token.user_id
             WHERE owner.tenant_id = tenant.id),
            (SELECT scheduled_for FROM tasks_api_run WHERE tenant_id = tenant.id
             ORDER BY scheduled_for DESC LIMIT 1)) AS last_active_at
    FROM accounts_tenant tenant WHERE tenant.id = ANY(%s::bigint[])
"""

# Finds tasks whose fire time came some seconds ago, the longest overdue first.
FIND_OVERDUE_TASKS = """
    SELECT task.id, task.name, task.method, task.url, task.queue,
        task.tenant_id, tenant.name AS tenant, task.next_fire_at AS due_at
    FROM tasks_api_task task JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE task.next_fire_at < now() - make_interval(secs => %(patience)s)
    ORDER BY task.next_fire_at LIMIT %(limit)s
"""
_RUN_COLUMNS = """
    run.id, run.task_id, task.name, task.method, task.url, task.queue, run.tenant_id,
    tenant.name AS tenant, run.state, run.scheduled_for, run.wake_at
"""
_JOINS = """
    JOIN tasks_api_task task ON task.id = run.task_id
    JOIN accounts_tenant tenant ON tenant.id = run.tenant_id
"""
# Finds runs whose lease or deadline passed some seconds ago, and that nobody has rescued.
FIND_LAPSED_RUNS = f"""
    SELECT {_RUN_COLUMNS} FROM tasks_api_run_live run {_JOINS}
    WHERE run.state IN ('running', 'open')
        AND run.wake_at < now() - make_interval(secs => %(patience)s)
    ORDER BY run.wake_at LIMIT %(limit)s
"""
# Finds runs that have waited for some seconds. One of a paused task waits as it should.
FIND_WAITING_RUNS = f"""
    SELECT {_RUN_COLUMNS} FROM tasks_api_run_live run {_JOINS}
    WHERE run.state IN ('pending', 'retrying') AND NOT run.is_next AND run.lane_id IS NULL
        AND run.wake_at < now() - make_interval(secs => %(patience)s)
        AND (run.by_hand OR NOT task.is_paused)
    ORDER BY run.wake_at LIMIT %(limit)s
"""
# Finds tenants with as many requests under way as all workers alive give them places.
FIND_FULL_TENANTS = """
    SELECT tenant.id, tenant.name, held.running, places.count AS limit
    FROM (SELECT tenant_id, count(*) AS running FROM tasks_api_run_live
          WHERE state = 'running' GROUP BY tenant_id) held
    JOIN accounts_tenant tenant ON tenant.id = held.tenant_id
    CROSS JOIN LATERAL (
        SELECT coalesce(tenant.max_in_flight, %(places)s) * greatest(%(workers)s, 1)
    ) places(count)
    WHERE held.running >= places.count
    ORDER BY held.running DESC LIMIT %(limit)s
"""
