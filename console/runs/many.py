"""Redrive or cancel chosen runs, or all that the filter of the list finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.views.decorators.http import require_POST

from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_members
from console.runs.forms import ChosenRunsForm
from console.runs.queries import read_query
from tasks_api.domain.states import UNDELIVERED_STATES, UNFINISHED_STATES, RunState
from tasks_api.services import cancellation, redrive
from tasks_api.services.bell import announce_after_commit, ring_after_commit
from tasks_api.services.run_selection import RunSelection, RunsPreview

# The most runs of one change, and the most tasks that its question names.
MAX_RUNS = 1000
MAX_TASKS_NAMED = 10


class Change(NamedTuple):
    """A change of many runs, its words, and the functions that plan and make it."""

    verb: str
    # The states of the runs that it is about.
    states: frozenset[RunState]
    consequence: str
    # Why there may be none.
    nothing: str
    preview: Callable[..., RunsPreview]
    # It returns what the next page says.
    make: Callable[[MemberRequest, RunSelection], str]


def _redrive(request: MemberRequest, wanted: RunSelection) -> str:
    made = redrive.redrive_runs(request.user, wanted, limit=MAX_RUNS)
    ring_after_commit()
    more = " More are left: redrive again." if made.has_more else ""
    return f"{_say_runs(len(made.run_ids))} sent again.{more}"


def _cancel(request: MemberRequest, wanted: RunSelection) -> str:
    made = cancellation.cancel_runs(request.user, wanted, limit=MAX_RUNS)
    announce_after_commit(made.runs)
    more = " More are left: cancel again." if made.has_more else ""
    return f"{_say_runs(len(made.runs))} cancelled.{more}"


def _say_runs(count: int) -> str:
    return f"{count} run{pluralize(count)} {pluralize(count, 'is,are')}"


REDRIVE = Change(
    "Redrive",
    UNDELIVERED_STATES,
    "A new run sends the present request of the task for each of them. Runs that were "
    "sent again before are left out.",
    "None of these runs can be redriven: they were sent again before, or their tasks "
    "were removed or are at work.",
    redrive.preview_redrive,
    _redrive,
)
CANCEL = Change(
    "Cancel",
    UNFINISHED_STATES,
    "They are not sent any more. A request that is under way is given up within seconds; "
    "its target may have done the work.",
    "None of these runs can be cancelled: they are over.",
    cancellation.preview_cancel,
    _cancel,
)


@for_members
@require_POST
def redrive_runs(request: MemberRequest) -> HttpResponse:
    return _change(request, REDRIVE)


@for_members
@require_POST
def cancel_runs(request: MemberRequest) -> HttpResponse:
    return _change(request, CANCEL)


def _change(request: MemberRequest, change: Change) -> HttpResponse:
    query, form = read_query(request), ChosenRunsForm(request.POST)
    if not (query.form.is_valid() and form.is_valid()):
        raise Http404
    wanted = query.select(change.states, form.chosen)
    if not is_confirmed(request):
        return _ask(request, change, form, wanted)
    messages.success(request, change.make(request, wanted))
    return redirect(_list_url(request))


def _ask(
    request: MemberRequest, change: Change, form: ChosenRunsForm, wanted: RunSelection
) -> HttpResponse:
    found = change.preview(
        request.user, wanted, limit=MAX_RUNS, task_limit=MAX_TASKS_NAMED
    )
    if not found.total:
        nothing = "Choose runs first." if form.chosen == [] else change.nothing
        messages.error(request, nothing)
        return redirect(_list_url(request))
    return ask(request, _question(change, form, found, back=_list_url(request)))


def _question(
    change: Change, form: ChosenRunsForm, found: RunsPreview, *, back: str
) -> Question:
    count = f"{found.total} run{pluralize(found.total)}"
    more = (
        f" More than {MAX_RUNS} are found: these are the oldest."
        if found.has_more
        else ""
    )
    return Question(
        question=f"{change.verb} {count}?",
        consequence=f"{change.consequence}{more}",
        names=[f"{each.task}: {each.runs}" for each in found.tasks],
        verb=f"{change.verb} {count}",
        back=back,
        kept=form.kept,
    )


def _list_url(request: MemberRequest) -> str:
    query = request.GET.urlencode()
    return reverse("console-runs") + (f"?{query}" if query else "")
