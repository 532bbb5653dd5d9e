"""The verdicts on a moment of a task, and the causes of them: a closed list, with words."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What became of a moment, or will become of it."""

    DELIVERED = "delivered"
    FAILED = "failed"
    # It is due or under way.
    WAITING = "waiting"
    DID_NOT_FIRE = "did_not_fire"
    WILL_FIRE = "will_fire"
    WONT_FIRE = "wont_fire"
    # Retention has deleted what would tell.
    NOT_KEPT = "not_kept"


class Cause(StrEnum):
    """The decisive cause of a verdict. Codes are part of the public API."""

    # The moment is one of the task's.
    DELIVERED = "delivered"
    PLANNED = "planned"
    UNDER_WAY = "under_way"
    MANUAL = "manual"
    BACKFILLED = "backfilled"
    # The schedule does not plan the moment.
    NOT_CREATED = "not_created"
    NOT_PLANNED = "not_planned"
    BEFORE_START = "before_start"
    AFTER_END = "after_end"
    ALREADY_FIRED = "already_fired"
    REMOVED = "removed"
    TARGET_GONE = "target_gone"
    MAX_RUNS = "max_runs"
    STOPPED_ON_SUCCESS = "stopped_on_success"
    BOUNDS_LAPSED = "bounds_lapsed"
    SCHEDULE_CHANGED = "schedule_changed"
    CLOCK_GAP = "clock_gap"
    CLOCK_OVERLAP = "clock_overlap"
    EXCLUDED_BY_CALENDAR = "excluded_by_calendar"
    MOVED_BY_CALENDAR = "moved_by_calendar"
    SCHEDULE_BROKEN = "schedule_broken"
    # The task was paused.
    PAUSED_BY_USER = "paused_by_user"
    PAUSED_AFTER_FAILURES = "paused_after_failures"
    PAUSED_IN_ADMIN = "paused_in_admin"
    OWNER_DEACTIVATED = "owner_deactivated"
    # A policy of the task, or a change, decided that the moment is not sent.
    OVERLAPPED = "overlapped"
    QUEUE_FULL = "queue_full"
    TOO_LATE = "too_late"
    NOT_NEWEST = "not_newest"
    NOT_CAUGHT_UP = "not_caught_up"
    QUOTA_LINE_FULL = "quota_line_full"
    BOUNDS_LINE_FULL = "bounds_line_full"
    ENDED_MEANWHILE = "ended_meanwhile"
    CUT_OFF = "cut_off"
    CANCELLED_BY_USER = "cancelled_by_user"
    REPLACED = "replaced"
    END_MOVED = "end_moved"
    # What made a run late, or holds it now.
    STORED_LATE = "stored_late"
    CAUGHT_UP = "caught_up"
    HELD_BY_CALENDAR = "held_by_calendar"
    QUOTA_SPENT = "quota_spent"
    BOUNDS_SPENT = "bounds_spent"
    BOUNDS_ENDING = "bounds_ending"
    LANE_PAUSED = "lane_paused"
    LANE_BREAKER = "lane_breaker"
    LANE_HELD = "lane_held"
    LANE_SLOWED = "lane_slowed"
    LANE_FULL = "lane_full"
    TENANT_MOVES = "tenant_moves"
    DATABASE_AWAY = "database_away"
    NO_WORKER = "no_worker"
    WORKER_LOST = "worker_lost"
    RETRYING = "retrying"
    IN_LINE = "in_line"
    LONG_WORK = "long_work"
    HELD_IN_WORKER = "held_in_worker"
    HOST_BUSY = "host_busy"
    NAMES_SILENT = "names_silent"
    BROKER_AWAY = "broker_away"
    WORKERS_BUSY = "workers_busy"
    # The request failed.
    TARGET_ANSWERED = "target_answered"
    RETRIES_EXHAUSTED = "retries_exhausted"
    RETRY_REFUSED = "retry_refused"
    NO_ANSWER = "no_answer"
    NAME_UNKNOWN = "name_unknown"
    ADDRESS_FORBIDDEN = "address_forbidden"
    BOUNDS_REFUSED = "bounds_refused"
    LOST_TOO_OFTEN = "lost_too_often"
    WORK_FAILED = "work_failed"
    WORK_OVERDUE = "work_overdue"
    SERVICE_ERROR = "service_error"
    # Nothing else is known.
    AS_RECORDED = "as_recorded"
    NOT_KEPT = "not_kept"
    UNEXPLAINED = "unexplained"


class Words(NamedTuple):
    """What a cause says, and what would have had to be different."""

    message: str
    hint: str = ""


WORDS: dict[Cause, Words] = {
    Cause.DELIVERED: Words("It was sent, and the target answered as expected."),
    Cause.PLANNED: Words("The schedule plans this moment."),
    Cause.UNDER_WAY: Words(
        "Its request is under way.", "It ends with the answer, or at its timeout."
    ),
    Cause.MANUAL: Words("A user asked for this run; no schedule planned it."),
    Cause.BACKFILLED: Words(
        "A user asked for this run in a backfill; it stands for an earlier fire time."
    ),
    Cause.NOT_CREATED: Words(
        "The task did not exist yet.", "Create the task before that moment."
    ),
    Cause.NOT_PLANNED: Words(
        "The schedule plans nothing then.",
        "Change the schedule, or ask about one of the nearest fire times.",
    ),
    Cause.BEFORE_START: Words(
        "The schedule begins later.", "Set start_datetime to an earlier moment."
    ),
    Cause.AFTER_END: Words(
        "The schedule has ended by then.", "Set end_datetime to a later moment."
    ),
    Cause.ALREADY_FIRED: Words(
        "A one-time task fires once, and it has.",
        "Run the task by hand, or create another.",
    ),
    Cause.REMOVED: Words(
        "A user had removed the task.", "Create the task again; a removal is for good."
    ),
    Cause.TARGET_GONE: Words(
        "The target had answered 410 (gone), so the task had ended.",
        "Create the task again with a URL that is served.",
    ),
    Cause.MAX_RUNS: Words(
        "Its schedule makes no more runs than max_runs, and has made them by then.",
        "Create the task with a larger max_runs, or change max_runs before it ends.",
    ),
    Cause.STOPPED_ON_SUCCESS: Words(
        "A run of the task had succeeded, and the task stops on success.",
        "Create the task without stop_on_success.",
    ),
    Cause.BOUNDS_LAPSED: Words(
        "Nobody had renewed in time the token that made the task.",
        "Renew the token within its renew_within, and create the task again.",
    ),
    Cause.SCHEDULE_CHANGED: Words(
        "Another schedule of the task plans this moment, and it was not in force then.",
        "Change the schedule before the moment, or after it.",
    ),
    Cause.CLOCK_GAP: Words(
        "The clock of its zone skips that local time on that day.",
        'Set dst.gap to "next_valid", choose another time, or use UTC.',
    ),
    Cause.CLOCK_OVERLAP: Words(
        "The clock of its zone shows that local time twice on that day, and the task "
        "fires the first time.",
        'Set dst.overlap to "both" to fire both times.',
    ),
    Cause.EXCLUDED_BY_CALENDAR: Words(
        "A calendar of the task leaves this fire time out.",
        "Change the calendar or the calendars of the task, or set on_excluded to move it.",
    ),
    Cause.MOVED_BY_CALENDAR: Words(
        "A calendar of the task moves this fire time to another day.",
        "Change the calendar, or the calendars of the task.",
    ),
    Cause.SCHEDULE_BROKEN: Words(
        "Its schedule could not be computed, so the service paused the task.",
        "Correct the schedule, and resume the task.",
    ),
    Cause.PAUSED_BY_USER: Words("A user had paused the task.", "Resume the task."),
    Cause.PAUSED_AFTER_FAILURES: Words(
        "Too many runs in a row had failed, so the service had paused the task.",
        "Mend the target, and resume the task; or raise pause_after_failures.",
    ),
    Cause.PAUSED_IN_ADMIN: Words(
        "An operator had disabled the schedule in the admin.",
        "Resume the task, or ask the operator to.",
    ),
    Cause.OWNER_DEACTIVATED: Words(
        "The user of the task is deactivated.",
        "Activate the user, or transfer the tasks to another user.",
    ),
    Cause.OVERLAPPED: Words(
        "The run before it was not over, and runs of the task may not overlap.",
        'Set overlap to "queue_one" or "allow", or fire less often.',
    ),
    Cause.QUEUE_FULL: Words(
        "The run before it was not over, and another one waited for that already.",
        'Set overlap to "allow", or fire less often than a run takes.',
    ),
    Cause.TOO_LATE: Words(
        "Nobody could fire it in time, and the misfire policy sends nothing later.",
        'Set misfire to "latest", or a longer catchup_window.',
    ),
    Cause.NOT_NEWEST: Words(
        "It passed while nobody could fire it, and a newer fire time stands for it.",
        'Set misfire to "all" to make up for each fire time.',
    ),
    Cause.NOT_CAUGHT_UP: Words(
        "It passed while the task was paused, and the resume did not make up for it.",
        'Resume with catch_up "all", or backfill the fire time.',
    ),
    Cause.QUOTA_LINE_FULL: Words(
        "Too many runs of the tenant waited for its quota of runs a day already.",
        "Fire less often, or ask the operator for a larger quota.",
    ),
    Cause.BOUNDS_LINE_FULL: Words(
        "Too many runs waited for the runs a day of the token that made the task.",
        "Fire less often, or use a token with wider bounds.",
    ),
    Cause.ENDED_MEANWHILE: Words(
        "It passed while nobody could fire it, and the task has ended since.",
        "Set end_datetime to a later moment.",
    ),
    Cause.CUT_OFF: Words(
        "It passed while nobody could fire it, and then the task changed.",
        "Change the task after its fire times were sent.",
    ),
    Cause.CANCELLED_BY_USER: Words("A user cancelled the run.", "Redrive the run."),
    Cause.REPLACED: Words(
        "The task was replaced while the run waited.", "The new task has its own runs."
    ),
    Cause.END_MOVED: Words(
        "The end of the task was moved to before this run.",
        "Set end_datetime to a later moment.",
    ),
    Cause.STORED_LATE: Words(
        "The task was stored or changed less than a second before the moment, or after it.",
        "Store tasks some seconds before they are due.",
    ),
    Cause.CAUGHT_UP: Words(
        "It passed while the task was paused, and the task made up for it on resume.",
        "Resume the task before the moment.",
    ),
    Cause.HELD_BY_CALENDAR: Words(
        "A calendar of the task holds back the runs of that time.",
        "Change the calendar, or the hold and the pace of the task.",
    ),
    Cause.QUOTA_SPENT: Words(
        "The tenant has used up its quota of runs a day.",
        "Fire less often, or ask the operator for a larger quota.",
    ),
    Cause.BOUNDS_SPENT: Words(
        "The token that made the task has used up its runs a day.",
        "Fire less often, or use a token with wider bounds.",
    ),
    Cause.BOUNDS_ENDING: Words(
        "The bounds of the token that made the task are about to end.",
        "Renew the token.",
    ),
    Cause.LANE_PAUSED: Words("A user had paused its lane.", "Resume the lane."),
    Cause.LANE_BREAKER: Words(
        "The breaker of its lane is open, because runs of the lane failed in a row.",
        "Mend the target, or raise breaker_after of the lane.",
    ),
    Cause.LANE_HELD: Words(
        "The target of its lane asked for a pause in a Retry-After header.",
        "Lower the rate of the lane, so that the target need not ask.",
    ),
    Cause.LANE_SLOWED: Words(
        "Its lane is slowed down, because the target asked for fewer requests.",
        "Lower the rate of the lane, so that the target need not ask.",
    ),
    Cause.LANE_FULL: Words(
        "Its lane had more runs than its rate and its concurrency let start.",
        "Raise the limits of the lane, or spread the fire times.",
    ),
    Cause.TENANT_MOVES: Words(
        "The tenant moved to another place, and nothing of it was sent meanwhile.",
        "Move tenants when few of their tasks are due.",
    ),
    Cause.DATABASE_AWAY: Words(
        "PostgreSQL did not answer the service.",
        "Run PostgreSQL with a standby; runs wait for it, and none is lost.",
    ),
    Cause.NO_WORKER: Words(
        "No worker was at work.", "Run at least two workers, on different machines."
    ),
    Cause.WORKER_LOST: Words(
        "The worker that had taken the run was lost, so another one sent it again.",
        "See the logs of the workers; a run that ends its worker is given up.",
    ),
    Cause.RETRYING: Words(
        "An attempt failed, and the task asks for retries.",
        "Mend the target, or set a shorter delay in retry.",
    ),
    Cause.IN_LINE: Words(
        "The run before it was not over, and the runs of the task wait in line.",
        'Set overlap to "allow", or fire less often than a run takes.',
    ),
    Cause.LONG_WORK: Words(
        "The target accepted the work, and has not reported its end yet.",
        "The target must report before the deadline.",
    ),
    Cause.HELD_IN_WORKER: Words(
        "A worker had taken it in time and began its request late: it waited for a place "
        "at its host or for a name server, or the worker stood still.",
        "Spread the fire times, or give the workers more processors.",
    ),
    Cause.HOST_BUSY: Words(
        "The host of the target has as many requests under way as it may have.",
        "Make the target answer faster, or spread the fire times.",
    ),
    Cause.NAMES_SILENT: Words(
        "The name servers of the target's host did not answer.",
        "Check the name servers of the host.",
    ),
    Cause.BROKER_AWAY: Words(
        "The broker took no messages, so workers looked by themselves, once a second.",
        "See how the broker is run; without it, fire times are up to a second late.",
    ),
    Cause.WORKERS_BUSY: Words(
        "Nothing was away: workers had no free place for it, or its tenant or the host of "
        "its target had too many requests under way.",
        "Spread the fire times, or start more workers.",
    ),
    Cause.TARGET_ANSWERED: Words(
        "The target answered with a status that counts as a failure.",
        "Mend the target, ask for retries, or set expected_status.",
    ),
    Cause.RETRIES_EXHAUSTED: Words(
        "All attempts failed that the task asks for.",
        "Raise retry.max_attempts or retry.max_age, or mend the target.",
    ),
    Cause.RETRY_REFUSED: Words(
        "The target asked for no retry.", "Mend the target, and redrive the run."
    ),
    Cause.NO_ANSWER: Words(
        "The target gave no answer.",
        "Mend the target, ask for retries, or redrive the run.",
    ),
    Cause.NAME_UNKNOWN: Words(
        "The name of the target's host could not be resolved.",
        "Check the URL, and the name servers of the host.",
    ),
    Cause.ADDRESS_FORBIDDEN: Words(
        "The URL leads to an address that tasks may not call.",
        "Use a public address, or ask the operator to allow it.",
    ),
    Cause.BOUNDS_REFUSED: Words(
        "The bounds of the token that made the task forbid its request.",
        "Change the task so that its bounds allow it, or create it with another token.",
    ),
    Cause.LOST_TOO_OFTEN: Words(
        "Its worker was lost too often, so the run was given up.",
        "See the logs of the workers, and redrive the run.",
    ),
    Cause.WORK_FAILED: Words(
        "The target reported that its work failed.",
        "Mend the target, and redrive the run.",
    ),
    Cause.WORK_OVERDUE: Words(
        "The target reported no end of its work before the deadline.",
        "Send heartbeats, or set a longer deadline in long_work.",
    ),
    Cause.SERVICE_ERROR: Words(
        "The service could not send the request or record its result.",
        "Redrive the run, and tell the operator.",
    ),
    Cause.AS_RECORDED: Words("The run states its reason."),
    Cause.NOT_KEPT: Words(
        "Runs of that time are not kept any more.",
        "Ask the operator for a longer retention.",
    ),
    Cause.UNEXPLAINED: Words(
        "The schedule planned this moment, and no run was recorded.",
        "Tell the operator: the account of the task names this difference.",
    ),
}
