"""The runs that a worker was told of come out in order, and a flood stands aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks_api.domain.ids import id_for
from tasks_api.worker.backlog import Backlog, PlacesLeft

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FLOOD, SMALL = 1, 2


def run(seconds: int, tenant_id: int = SMALL) -> UUID:
    return id_for(NOON + timedelta(seconds=seconds), tenant_id)


def plenty(lane: int, mine: int = 0, begun: int = 0) -> int:
    return 1000


def full(lane: int, mine: int = 0, begun: int = 0) -> int:
    return 0


def popped(
    waiting: Backlog, seconds: int = 3600, most: int = 100, room: PlacesLeft = plenty
) -> list[UUID]:
    return waiting.pop(until=NOON.timestamp() + seconds, most=most, room=room)


def test_the_earliest_come_first_and_none_too_early() -> None:
    waiting = Backlog()
    late, early, middle = run(9), run(1), run(5)
    waiting.add([late, early, middle])

    assert waiting.first_moment() == NOON.timestamp() + 1
    assert popped(waiting, 5) == [early, middle]
    assert popped(waiting, 5) == []
    assert list(waiting) == [late]


def test_what_is_rung_for_again_is_known_once() -> None:
    waiting = Backlog()
    one = run(1)
    waiting.add([one, one])
    waiting.add([one])

    assert len(waiting) == 1
    assert popped(waiting) == [one]
    # It was taken out, and may come again.
    waiting.add([one])
    assert popped(waiting) == [one]


def test_a_tenant_without_room_stands_aside_until_it_has_some() -> None:
    waiting = Backlog()
    flood = [run(second, FLOOD) for second in range(5)]
    small = run(9)
    waiting.add([small, *reversed(flood)])
    rooms = {FLOOD: 1, SMALL: 9}

    def room(lane: int, mine: int = 0, begun: int = 0) -> int:
        return rooms[lane] - mine

    assert popped(waiting, room=room) == [flood[0], small]
    waiting.add([flood[1]])
    assert waiting.first_moment() is None
    assert len(waiting) == 4
    rooms[FLOOD] = 2
    waiting.call_back(room)
    # Nobody has begun those called back: they may be called more than once.
    waiting.call_back(room)
    assert popped(waiting, room=room) == flood[1:3]
    waiting.call_back(plenty)
    assert popped(waiting) == flood[3:]
    assert len(waiting) == 0


def test_each_that_stands_aside_for_long_is_told_once() -> None:
    waiting = Backlog()
    flood = [run(second, FLOOD) for second in range(3)]
    waiting.add(flood)
    assert popped(waiting, room=full) == []

    assert waiting.aside_for_long() == []
    assert sorted(waiting.aside_for_long()) == flood
    assert waiting.aside_for_long() == []
    waiting.add([run(9, FLOOD)])
    popped(waiting, room=full)
    assert waiting.aside_for_long() == []
    assert len(waiting.aside_for_long()) == 1


def test_no_more_come_out_than_there_is_room_for() -> None:
    waiting = Backlog()
    waiting.add(run(second) for second in range(9))

    assert len(popped(waiting, most=4)) == 4
    assert len(waiting) == 5


def test_what_is_taken_at_once_counts_for_the_others_that_are() -> None:
    waiting = Backlog()
    flood = [run(second, FLOOD) for second in range(5)]
    waiting.add([*flood, run(9)])

    def room(lane: int, mine: int = 0, begun: int = 0) -> int:
        return 3 - begun

    assert popped(waiting, room=room) == flood[:3]
