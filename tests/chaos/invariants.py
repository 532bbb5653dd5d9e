"""The referee: what clients were told, what was written down and what arrived, compared.

Pure functions over what was seen.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.evidence import (
    LOST_TOO_OFTEN,
    NEVER,
    NOTICES,
    Arrival,
    Evidence,
    Fault,
    Run,
    Violation,
    Word,
    grouped,
)
from tests.chaos.expectations import History, history_of

CLOCK = 0.001  # the finest that X-Scheduled-For is compared with
ON_TIME = 1.0
# A lease that ran out, a presence that was missed, and the claim after that.
AFTERMATH = 20.0

# How the target ends the requests of these paths, when nothing comes in between.
SUCCEED = frozenset({"ok", "stall", "drip"})
FAIL = frozenset({"fail", "busy", "reset", "garbage"})
# Nothing that harms nobody may make anything later than this.
PROMPT = 6.0
UNRESOLVED = "its name servers do not answer"
# How the marks of tasks begin that nobody changes.
UNTOUCHED = "steady"
NOT_SENT = frozenset({"missed", "skipped"})


def judge(evidence: Evidence) -> list[Violation]:
    """Whatever breaks a promise, with enough to find it by."""
    found = [Violation("a part died by itself", "", what) for what in evidence.misdeeds]
    for mark in {**evidence.calls_of, **evidence.runs_of}:
        history = history_of(evidence.calls_of.get(mark, ()))
        if mark != NOTICES:
            found += _of_task(mark, history, evidence)
        for run in evidence.runs_of.get(mark, ()):
            found += _of_run(run, history, evidence)
    found += [*_of_overlap(evidence), *_of_poison(evidence), *_of_refusals(evidence)]
    found += _of_harmless(evidence)
    known = {run.run_id for run in evidence.runs}
    found += [
        Violation("an arrival of no run", arrival.mark, str(arrival))
        for arrival in evidence.arrivals
        if arrival.run_id not in known
    ]
    return found


def _of_task(mark: str, history: History, evidence: Evidence) -> Iterator[Violation]:
    runs = evidence.runs_of.get(mark, [])
    for call in history.lost:
        yield Violation("an acknowledged task was lost", mark, str(call))
    if not history.is_unsure and len({run.task_id for run in runs}) > 1:
        yield Violation("one task became several", mark, str(runs))
    planned = [(run.task_id, run.planned) for run in runs]
    for fire_time in {each for each in planned if planned.count(each) > 1}:
        yield Violation("two runs for one fire time", mark, str(fire_time))
    spans = history.all_spans()
    have = {run.planned for run in runs}
    paused_at = _paused_at(runs)
    for span in spans:
        for fire_time in span.must_fire():
            if fire_time not in have and fire_time < paused_at * 1000:
                yield Violation("a fire time without a run", mark, str(fire_time))
    for run in runs:
        if not any(span.may_fire(run.planned) for span in spans):
            yield Violation("a run that nobody asked for", mark, str(run))
        if run.planned / 1000 > paused_at + AFTERMATH:
            yield Violation("a run after its task had failed too often", mark, str(run))
    yield from _of_notices(mark, history, evidence)


def _paused_at(runs: Sequence[Run]) -> float:
    """When the service paused a task whose target always fails."""
    failed = sorted(run.finished_at or NEVER for run in runs if run.counts_as_failed)
    wanted = runs[0].pause_after if runs else 0
    return failed[wanted - 1] if 0 < wanted <= len(failed) else NEVER


def _of_notices(mark: str, history: History, evidence: Evidence) -> Iterator[Violation]:
    """One for each pause; a task that ends at that moment may do without."""
    runs = evidence.runs_of.get(mark, [])
    task_ids = {run.task_id for run in runs}
    told = {
        word.run_id
        for word in evidence.words
        if word.what == "notice" and word.said in task_ids
    }
    ends = [span.grid.end / 1000 for span in history.all_spans() if span.grid.end]
    removed = [c.sent for c in evidence.calls_of.get(mark, ()) if c.verb == "delete"]
    paused_at = _paused_at(runs)
    if paused_at == NEVER and told:
        yield Violation("a notice of a pause that was not due", mark, str(told))
    if len(told) > 1:
        yield Violation("two notices of one pause", mark, str(told))
    if not told and paused_at < min([*ends, *removed], default=NEVER):
        yield Violation("a pause without a notice", mark, str(runs))


def _of_overlap(evidence: Evidence) -> Iterator[Violation]:
    """By the target's own log, it worked on one run at a time where it was to."""
    by_task = grouped(evidence.runs, lambda run: run.task_id)
    for runs in by_task.values():
        until, before = 0.0, ""
        for began, ended, run in sorted(_at_work(runs, evidence)):
            if began < until:
                detail = f"{before} until {until}, {run.run_id} from {began}"
                yield Violation("two runs of one task at once", run.mark, detail)
            if ended > until:
                until, before = ended, run.run_id


def _at_work(
    runs: Sequence[Run], evidence: Evidence
) -> Iterator[tuple[float, float, Run]]:
    """From when to when a target was at work on each run that may not overlap.

    What a worker that was frozen sent after its run had ended is a duplicate.
    """
    for run in runs:
        if run.overlap == "allow" or run.reason == LOST_TOO_OFTEN:
            continue
        over = run.finished_at or NEVER
        arrivals = evidence.arrivals_of.get(run.run_id, ())
        came = [arrival.at for arrival in arrivals if arrival.at <= over]
        words = evidence.words_of.get(run.run_id, ())
        ended = [
            word.at
            for word in words
            if word.said == 200 and word.what != "heartbeat" and word.at <= over
        ]
        if came:
            yield min(came), max(*came, *ended, 0.0), run


def _of_poison(evidence: Evidence) -> Iterator[Violation]:
    """The quickest schedule fires once a second."""
    for task_id, count in evidence.poison.items():
        if count > 2 * evidence.lasted + 100:
            yield Violation("a poisonous task multiplied", task_id, f"{count} runs")


def _of_refusals(evidence: Evidence) -> Iterator[Violation]:
    for call in evidence.calls:
        if call.status in {401, 403}:
            yield Violation("a good token was refused", call.mark, str(call))
        # What begins in the past may be refused; a cron never does.
        is_early = call.is_cron or (
            call.grid is not None and call.answered * 1000 < call.grid.start
        )
        if call.verb in {"create", "replace"} and call.is_refused and is_early:
            yield Violation("a sound task was refused", call.mark, str(call))


def _of_harmless(evidence: Evidence) -> Iterator[Violation]:
    """While nothing is broken, or what must not matter, every task is prompt."""
    for fault in evidence.faults:
        if not fault.is_harmless:
            continue
        for run in evidence.runs:
            planned = run.planned / 1000
            is_judged = run.mark.startswith(UNTOUCHED) and (
                fault.began <= planned <= fault.over - PROMPT
            )
            came = [each.late for each in evidence.arrivals_of.get(run.run_id, ())]
            if is_judged and min(came, default=NEVER) > PROMPT:
                detail = f"{fault.kind}: {run}"
                yield Violation("late though nothing was broken", run.mark, detail)


def _of_run(run: Run, history: History, evidence: Evidence) -> Iterator[Violation]:
    arrivals = evidence.arrivals_of.get(run.run_id, [])
    broken = [
        *_ending(run, history),
        *_sending(run, arrivals, evidence.faults),
        *_doubling(run, arrivals, evidence),
        *_timing(run, arrivals, history),
        *_working(run, arrivals, evidence.words_of.get(run.run_id, ())),
        *_clocks(run, evidence.words_of.get(run.run_id, ())),
    ]
    for rule in broken:
        yield Violation(rule, run.mark, f"{run} {arrivals}")


def _ending(run: Run, history: History) -> Iterator[str]:
    if run.finished_at is None:
        yield "a run that never ended"
    is_stopped = history.is_stopped or history.replaced or run.pause_after
    if run.state == "cancelled" and not is_stopped:
        yield "a run was cancelled though nobody stopped its task"
    if run.finished_at is not None and len(run.attempts) != run.attempt_count:
        yield "an attempt was not written down"
    is_once = any(not span.grid.every for span in history.all_spans())
    if is_once and run.state in NOT_SENT:
        yield "a one-time task was left out"
    if run.state == "skipped" and run.overlap == "allow":
        yield "a run was skipped that may overlap"


def _clocks(run: Run, words: Sequence[Word]) -> Iterator[str]:
    """The database's clock and the target's are right, whatever the parts' own say."""
    if any(word.what == "stale" for word in words):
        yield "a request was signed with another time"
    since, until = run.planned / 1000 - ON_TIME, (run.finished_at or NEVER) + ON_TIME
    if any(not since <= attempt.started_at <= until for attempt in run.attempts):
        yield "an attempt has another time"


def _sending(
    run: Run, arrivals: Sequence[Arrival], faults: Sequence[Fault]
) -> Iterator[str]:
    if any((a.mark, a.planned) != (run.mark, run.planned) for a in arrivals):
        yield "an arrival with another task's or fire time's words"
    if run.state in NOT_SENT and arrivals:
        yield "a run was sent that is said not to be"
    is_given_up = run.reason == LOST_TOO_OFTEN
    is_given_up |= UNRESOLVED in run.reason and any(
        fault.kind.startswith("name servers")
        and fault.began <= (run.finished_at or NEVER)
        and run.planned / 1000 <= fault.over + AFTERMATH
        for fault in faults
    )
    if run.state in {"succeeded", "failed"} and not arrivals and not is_given_up:
        yield "a run is said to be sent that was not"
    hows = {arrival.how for arrival in arrivals}
    if run.state == "succeeded" and hows and hows <= FAIL:
        yield "a failure was taken for a success"
    if run.state == "failed" and hows and hows <= SUCCEED and not is_given_up:
        yield "a success was taken for a failure"


def _doubling(
    run: Run, arrivals: Sequence[Arrival], evidence: Evidence
) -> Iterator[str]:
    # A kept connection that is closed without an answer: the request leaves once more, and
    # no more often, within its attempt. A target that resets is not asked which it was.
    is_reset = any(arrival.how == "reset" for arrival in arrivals)
    words = evidence.words_of.get(run.run_id, ())
    closed = sum(word.what == "closed" for word in words)
    again = run.attempt_count if is_reset else min(closed, run.attempt_count)
    if len(arrivals) > run.attempt_count + again:
        yield "a duplicate without a reason"
    faults = evidence.faults
    if not run.is_retried and run.attempt_count - run.lost_count > 1:
        yield "another attempt that nobody asked for"
    if run.lost_count and not any(
        fault.loses_requests
        and fault.began <= (run.finished_at or NEVER)
        and run.first_claim <= fault.over + AFTERMATH
        for fault in faults
    ):
        yield "a run was lost though no worker was"


def _working(
    run: Run, arrivals: Sequence[Arrival], words: Sequence[Word]
) -> Iterator[str]:
    taken = {word.what for word in words if word.said == 200}
    if "complete" in taken and run.state != "succeeded":
        yield "work that was done was not taken for it"
    if "fail" in taken and run.state == "succeeded" and not run.is_retried:
        yield "work that failed was taken for a success"
    is_work = {arrival.how for arrival in arrivals} == {"work"}
    if is_work and run.state == "succeeded" and "complete" not in taken:
        yield "work was taken for done though nobody said so"


def _timing(run: Run, arrivals: Sequence[Arrival], history: History) -> Iterator[str]:
    if any(arrival.late < -CLOCK for arrival in arrivals):
        yield "a run was sent early"
    for stopped, until in history.stops:
        if stopped < (run.started_at or 0.0) < until:
            yield "a run was claimed after its task was stopped"
        if run.first_claim > stopped and any(stopped < a.at < until for a in arrivals):
            yield "a run was sent after its task was stopped"
    for replaced_at, version in history.replaced:
        if run.first_claim > replaced_at and any(
            arrival.at > replaced_at and arrival.version < version
            for arrival in arrivals
        ):
            yield "a run was sent as it was before its task was replaced"


def duplicates(evidence: Evidence) -> tuple[int, int]:
    """Requests that reached the target beyond one for each attempt that was meant.

    First those of runs that lost a worker, then those of targets that cut connections.
    """
    of_lost_workers = of_cut_connections = 0
    for run in evidence.runs:
        meant = max(1, run.attempt_count - run.lost_count)
        extra = max(0, len(evidence.arrivals_of.get(run.run_id, ())) - meant)
        by_workers = min(extra, run.lost_count)
        of_lost_workers += by_workers
        of_cut_connections += extra - by_workers
    return of_lost_workers, of_cut_connections


def recoveries(evidence: Evidence) -> Mapping[str, list[float]]:
    """For each kind of fault, seconds until something was delivered on time again."""
    on_time = sorted(
        (arrival.planned / 1000, arrival.at)
        for arrival in evidence.arrivals
        if arrival.late <= ON_TIME
    )
    found: dict[str, list[float]] = defaultdict(list)
    for fault in evidence.faults:
        place = bisect.bisect_left(on_time, (fault.since, 0.0))
        after = on_time[place:][:50]
        found[fault.kind].append(
            min((at for _, at in after), default=NEVER) - fault.since
        )
    return found
