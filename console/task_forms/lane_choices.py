"""The lane of a task in its form: which there are, and whether the task fits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django import forms
from django.http import QueryDict

from accounts.models import Tenant, User
from console.lanes.words import short_limits
from console.pages import MemberRequest
from console.task_forms.forms import TaskForm
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.specs import TaskSpec
from tasks_api.services import admission, lanes
from tasks_api.services.wanted_tasks import Wanted

# The action of a button that fills in a spread: this, and the seconds.
FILL_SPREAD = "spread "
HOST_LANE = ("", "That of the target's host, if there is one")


def offer_lanes(form: TaskForm, tenant: Tenant) -> None:
    """Let the form choose one of the lanes of a tenant. The API checks what it says."""
    found = lanes.list_lanes(tenant).order_by("name")
    choices = {lane.name: f"{lane.name}: {short_limits(lane)}" for lane in found}
    chosen = form["lane"].value()
    if chosen and chosen not in choices:
        choices[chosen] = f"{chosen}: there is no such lane"
    form.fields["lane"].widget = forms.Select(choices=[HOST_LANE, *choices.items()])


def read_post(request: MemberRequest) -> QueryDict:
    """The fields of a form that was sent, with the spread that its button fills in."""
    action = request.POST.get("action", "")
    if not action.startswith(FILL_SPREAD):
        return request.POST
    data = request.POST.copy()
    data["spread"] = action.removeprefix(FILL_SPREAD)
    return data


class LaneAnswer(NamedTuple):
    """Whether a task fits its lane, and what would; or where the lane places it."""

    lane: str
    fits: bool
    # From the fire time of a run to its start, at most.
    seconds: int
    refusal: str = ""
    smallest_spread: int | None = None
    # The seconds after its schedule at which the task fires, if the service chooses them.
    offset: int | None = None

    @property
    def action(self) -> str:
        return f"{FILL_SPREAD}{self.smallest_spread}"


def ask_lane(
    user: User, spec: TaskSpec, task: Any, *, now: datetime
) -> LaneAnswer | None:
    """Ask the lane of a task, without a lock; None if nobody judges the task."""
    try:
        judged = admission.judge_tasks(
            user, [Wanted(spec, task)], now=now, locks_lanes=False
        )
    except TooMuch:
        return None
    found = [each for each in judged.verdicts if each.indexes]
    if not found:
        return None
    [each] = found
    name, verdict = each.lane.name, each.verdict
    if verdict.fits:
        offset = judged.tasks[0].spec.spread_offset
        return LaneAnswer(name, True, verdict.seconds_to_start, offset=offset)
    refusal = f"{admission.explain(each)}."
    return LaneAnswer(name, False, 0, refusal, verdict.smallest_spread)
