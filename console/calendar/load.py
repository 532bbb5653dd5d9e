"""The load of some time: the runs that were, and the fire times that are to come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.services import stats
from tasks_api.services.forecast import Division, Forecast, Only, make_forecast

HOUR = timedelta(hours=1)
# More tasks, tags or hosts are not told apart: it would take too long.
MAX_GROUPS = 10_000


@dataclass
class Load:
    """Runs and fire times by the hour, or the shorter bucket, in which they are.

    `refusal` says why fire times are missing. Runs are None if they are not told apart.
    """

    past: Counter[datetime] | None = field(default_factory=Counter)
    coming: Counter[datetime] = field(default_factory=Counter)
    # The fire times that paused tasks would have if they were resumed now.
    paused: int = 0
    # The fire times of each task, tag or host.
    labels: list[tuple[str, int]] = field(default_factory=list)
    omitted: int = 0
    refusal: str = ""


def read_load(
    user: User,
    since: datetime,
    until: datetime,
    width: timedelta,
    *,
    by: Division,
    only: Only | None,
    now: datetime,
) -> Load:
    """Read the load of whole hours, the coming ones in buckets of `width`."""
    load = Load(past=None if only else _read_past(user, since, until, now))
    start = max(since, stats.floor_hour(now))
    if start < until:
        buckets = Buckets(start, width, (until - start) // width)
        _add_coming(load, user, buckets, by, only, now)
    return load


def _read_past(
    user: User, since: datetime, until: datetime, now: datetime
) -> Counter[datetime]:
    since, until = max(since, stats.kept_since(user, now)), min(until, now)
    if since >= until:
        return Counter()
    found = stats.read_stats(user, since=since, until=until)
    runs = {hour: stats.runs_by_state(tally).total() for hour, tally in found.hours}
    return Counter(runs)


def _add_coming(
    load: Load,
    user: User,
    buckets: Buckets,
    by: Division,
    only: Only | None,
    now: datetime,
) -> None:
    limit = MAX_GROUPS if by else None
    try:
        found = make_forecast(
            user, buckets, by=by, now=now, only=only, max_groups=limit
        )
    except InvalidTask as refusal:
        load.refusal = str(refusal)
        return
    load.coming = Counter(dict(zip(buckets.starts(), _counts(found), strict=True)))
    load.paused = found.all.paused.total()
    load.labels = [
        (label, series.coming.total())
        for label, series in found.labelled
        if series.coming
    ]
    load.omitted = found.omitted


def _counts(found: Forecast) -> list[int]:
    return [found.all.coming[index] for index in range(found.buckets.size)]
