"""The runs that a worker was told of come out in order, and a flood stands aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks_api.domain.ids import id_for
from tasks_api.worker.backlog import Backlog, PlacesLeft

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FLOOD, SMALL = 1, 2


def run_id_at(seconds: int, tenant_id: int = SMALL) -> UUID:
    return id_for(NOON + timedelta(seconds=seconds), tenant_id)


def take_plenty(lane: int, mine: int = 0, begun: int = 0) -> int:
    return 1000


def full(lane: int, mine: int = 0, begun: int = 0) -> int:
    return 0


def pop_due(
    backlog: Backlog,
    seconds: int = 3600,
    limit: int = 100,
    places_left: PlacesLeft = take_plenty,
) -> list[UUID]:
    return backlog.pop(
        until=NOON.timestamp() + seconds, limit=limit, places_left=places_left
    )


def test_the_earliest_come_first_and_none_too_early() -> None:
    backlog = Backlog()
    late, early, middle = run_id_at(9), run_id_at(1), run_id_at(5)
    backlog.add([late, early, middle])

    assert backlog.first_due_at() == NOON.timestamp() + 1
    assert pop_due(backlog, 5) == [early, middle]
    assert pop_due(backlog, 5) == []
    assert list(backlog) == [late]


def test_what_is_rung_for_again_is_known_once() -> None:
    backlog = Backlog()
    one = run_id_at(1)
    backlog.add([one, one])
    backlog.add([one])

    assert len(backlog) == 1
    assert pop_due(backlog) == [one]
    # It was taken out, and may come again.
    backlog.add([one])
    assert pop_due(backlog) == [one]


def test_a_tenant_without_room_stands_aside_until_it_has_some() -> None:
    backlog = Backlog()
    flood = [run_id_at(second, FLOOD) for second in range(5)]
    small = run_id_at(9)
    backlog.add([small, *reversed(flood)])
    rooms = {FLOOD: 1, SMALL: 9}

    def room(lane: int, mine: int = 0, begun: int = 0) -> int:
        return rooms[lane] - mine

    assert pop_due(backlog, places_left=room) == [flood[0], small]
    backlog.add([flood[1]])
    assert backlog.first_due_at() is None
    assert len(backlog) == 4
    rooms[FLOOD] = 2
    backlog.unblock(room)
    # Nobody has begun those called back: they may be called more than once.
    backlog.unblock(room)
    assert pop_due(backlog, places_left=room) == flood[1:3]
    backlog.unblock(take_plenty)
    assert pop_due(backlog) == flood[3:]
    assert len(backlog) == 0


def test_each_run_that_stays_blocked_is_returned_once() -> None:
    backlog = Backlog()
    flood = [run_id_at(second, FLOOD) for second in range(3)]
    backlog.add(flood)
    assert pop_due(backlog, places_left=full) == []

    assert backlog.pop_blocked_for_long() == []
    assert sorted(backlog.pop_blocked_for_long()) == flood
    assert backlog.pop_blocked_for_long() == []
    backlog.add([run_id_at(9, FLOOD)])
    pop_due(backlog, places_left=full)
    assert backlog.pop_blocked_for_long() == []
    assert len(backlog.pop_blocked_for_long()) == 1


def test_no_more_come_out_than_there_is_room_for() -> None:
    backlog = Backlog()
    backlog.add(run_id_at(second) for second in range(9))

    assert len(pop_due(backlog, limit=4)) == 4
    assert len(backlog) == 5


def test_what_is_taken_at_once_counts_for_the_others_that_are() -> None:
    backlog = Backlog()
    flood = [run_id_at(second, FLOOD) for second in range(5)]
    backlog.add([*flood, run_id_at(9)])

    def room(lane: int, mine: int = 0, begun: int = 0) -> int:
        return 3 - begun

    assert pop_due(backlog, places_left=room) == flood[:3]
