"""What people call one task of each wire format."""

from __future__ import annotations

from tasks_api.domain.specs import Surface

TITLES = {
    Surface.TASKS: "task",
    Surface.CRON_JOBS: "cron job",
    Surface.TIMERS: "timer",
    Surface.REST_JOBS: "rest job",
}
