"""The runs that a worker was told of come out in order, and a flood stands aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks_api.delivery.waiting import Waiting
from tasks_api.models import id_for

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FLOOD, SMALL = 1, 2


def run(seconds: int) -> UUID:
    return id_for(NOON + timedelta(seconds=seconds))


def popped(waiting: Waiting, seconds: int = 3600, most: int = 100) -> list[UUID]:
    return waiting.pop(until=NOON.timestamp() + seconds, most=most)


def test_the_earliest_come_first_and_none_too_early() -> None:
    waiting = Waiting()
    late, early, middle = run(9), run(1), run(5)
    waiting.add([late, early, middle])

    assert waiting.first_moment() == NOON.timestamp() + 1
    assert popped(waiting, 5) == [early, middle]
    assert popped(waiting, 5) == []
    assert list(waiting) == [late]


def test_what_is_rung_for_again_is_known_once() -> None:
    waiting = Waiting()
    one = run(1)
    waiting.add([one, one])
    waiting.add([one])

    assert len(waiting) == 1
    assert popped(waiting) == [one]
    # It was taken out, and may come again.
    waiting.add([one])
    assert popped(waiting) == [one]


def test_a_tenant_at_its_limit_stands_aside_until_it_holds_less() -> None:
    waiting = Waiting()
    flood = [run(second) for second in range(5)]
    for run_id in flood:
        waiting.set_aside(run_id, FLOOD, 2)
    small = run(9)
    waiting.add([small, flood[0]])

    waiting.call_back({FLOOD: 2})
    assert popped(waiting) == [small]
    waiting.call_back({FLOOD: 1, SMALL: 1})
    assert popped(waiting) == flood[:1]
    # Nobody holds any of them: somebody else has taken the one called back.
    waiting.call_back({})
    assert popped(waiting) == flood[1:3]
    assert len(waiting) == 2


def test_no_more_come_out_than_there_is_room_for() -> None:
    waiting = Waiting()
    waiting.add(run(second) for second in range(9))

    assert len(popped(waiting, most=4)) == 4
    assert len(waiting) == 5
