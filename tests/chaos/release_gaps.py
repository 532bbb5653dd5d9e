"""What the release before does not know: the one list of what a mixed round leaves out.

Web, beats and workers of both releases share the tasks. So a task asks only for what both
know, as docs/how-to/upgrading.md tells users; a client that asks for more has no tasks in
the round. The checker asks "why" and for accounts at the web of this release alone, since
it is the answers of this release that it judges. And a beat of the release before that
makes the run of what was due at a new version of a calendar takes it for that of a pause:
it holds nothing back, and gives the reasons of a pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.calendar_clients import CalendarClient
from tests.chaos.clients import ChaosClient
from tests.chaos.control_calls import CalendarHistory
from tests.chaos.evidence import Evidence, RunRecord
from tests.chaos.lane_clients import LaneClient
from tests.chaos.schedule_clients import (
    BackfillClient,
    BoundedClient,
    CatchUpClient,
    CountedClient,
    EndsClient,
    RuleClient,
)

# The file with which that came that the tasks of a client need. A release without it
# would leave out what the task asks for.
CAME_WITH: Mapping[type[ChaosClient], str] = {
    LaneClient: "tasks_api/migrations/0018_runs_in_lanes.py",
    CalendarClient: "tasks_api/migrations/0020_tasks_on_calendars.py",
    RuleClient: "tasks_api/migrations/0021_rules.py",
    EndsClient: "tasks_api/migrations/0022_ends_and_backfills.py",
    BackfillClient: "tasks_api/migrations/0022_ends_and_backfills.py",
    CatchUpClient: "tasks_api/migrations/0023_catch_up.py",
    BoundedClient: "tasks_api/migrations/0024_quotas_and_bounds.py",
    CountedClient: "tasks_api/migrations/0024_quotas_and_bounds.py",
}


def known_to(code: Path, clients: Sequence[ChaosClient]) -> list[ChaosClient]:
    """The clients whose tasks ask only for what the release with this code knows."""
    return [
        client
        for client in clients
        if (code / CAME_WITH.get(type(client), "manage.py")).exists()
    ]


# The cause that follows from such a reason.
PAUSE_CAUSE = "not_caught_up"


def more_causes_of(evidence: Evidence, run: RunRecord) -> set[str]:
    """What "why" may say besides of a run that the release before may have made."""
    is_dated = run.mark.startswith(CalendarClient.kind)
    return {PAUSE_CAUSE} if evidence.runs_by_release and is_dated else set()


def may_go_in_a_hold(
    evidence: Evidence, run: RunRecord, history: CalendarHistory
) -> bool:
    """Whether the release before may have made this run of a task that a calendar holds."""
    is_mixed = bool(evidence.runs_by_release)
    return is_mixed and history.changed_between(
        run.scheduled_ms / 1000, run.first_claim
    )
