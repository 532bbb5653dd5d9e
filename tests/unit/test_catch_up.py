"""Which fire times of a pause fire: the newest ones, whatever the size of a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain.catch_up import CatchUp, PassedFireTimes, sort_passed
from tasks_api.domain.schedules import MAX_CATCH_UP, Interval

START = datetime(2090, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def sort_in_batches(
    schedule: Interval, catch_up: CatchUp, until: datetime, limit: int
) -> list[PassedFireTimes]:
    found = []
    first: datetime | None = schedule.first_from(START)
    while first is not None:
        found.append(
            sort_passed(
                schedule,
                catch_up,
                first=first,
                until=until,
                limit=limit,
                why=catch_up.missed_reason,
            )
        )
        first = found[-1].open_from
    return found


@given(
    st.integers(1, 400),
    st.integers(1, 9),
    st.integers(1, 300),
    st.sampled_from([CatchUp.LATEST, CatchUp.ALL]),
)
def test_the_newest_fire_and_the_older_ones_are_missed(
    count: int, every: int, limit: int, catch_up: CatchUp
) -> None:
    schedule = Interval(START, every * SECOND)
    expected = [START + place * every * SECOND for place in range(count)]

    found = sort_in_batches(schedule, catch_up, expected[-1], limit)

    most = 1 if catch_up is CatchUp.LATEST else MAX_CATCH_UP
    missed = [moment for each in found for moment, _ in each.missed]
    fires = [moment for each in found for moment in each.fires]
    assert fires == expected[-most:]
    assert missed + fires == expected
    assert all(len(each.missed) <= max(limit, 1) + most for each in found)


@pytest.mark.parametrize("catch_up", [CatchUp.LATEST, CatchUp.ALL])
def test_a_crowd_is_one_missed_run(catch_up: CatchUp) -> None:
    schedule, until = Interval(START, SECOND), START + 86_400 * SECOND

    crowd, *rest = sort_in_batches(schedule, catch_up, until, 1000)

    assert [moment for moment, _ in crowd.missed] == [START]
    assert "fire times, up to" in crowd.missed[0].reason
    assert catch_up.missed_reason in crowd.missed[0].reason
    fires = [moment for each in rest for moment in each.fires]
    assert fires[-1] == until
    assert len(fires) == catch_up.most
    assert crowd.covers_until == fires[0] - SECOND
