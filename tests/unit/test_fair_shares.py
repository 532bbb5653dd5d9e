"""Nobody takes all places, and what one may have falls when others come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.delivery.shares import Pool, batch_places, places_left


@pytest.mark.parametrize(
    ("limit", "alone"), [(1, 1), (2, 2), (9, 9), (10, 9), (100, 90), (1000, 900)]
)
def test_a_single_holder_leaves_a_tenth_to_newcomers(limit: int, alone: int) -> None:
    assert places_left(mine=0, taken=0, limit=limit) == alone


def test_a_fair_share_falls_when_others_come() -> None:
    assert places_left(mine=90, taken=90, limit=100) <= 0
    assert places_left(mine=0, taken=90, limit=100) == 9
    # Of those that others took, none comes back to who has so many.
    assert places_left(mine=80, taken=95, limit=100) <= 0


@given(limit=st.integers(1, 1000), taken=st.integers(0, 1000), share=st.floats(0, 1))
def test_as_many_are_given_as_one_by_one(limit: int, taken: int, share: float) -> None:
    mine = int(taken * share)
    given_out = 0
    while places_left(mine=mine + given_out, taken=taken + given_out, limit=limit) > 0:
        given_out += 1

    assert given_out == max(0, places_left(mine=mine, taken=taken, limit=limit))


@pytest.mark.parametrize(
    ("limit", "together"), [(10, 10), (20, 19), (100, 96), (1000, 950)]
)
def test_two_sharers_that_come_together_leave_places_to_newcomers(
    limit: int, together: int
) -> None:
    first = second = 0
    while batch := _share_batch(first, second, limit):
        first, second = first + batch[0], second + batch[1]

    assert first + second == together


def _share_batch(first: int, second: int, limit: int) -> tuple[int, int] | None:
    """What two sharers with endless work get of a batch, in equal parts if they may."""
    taken = first + second
    batch = batch_places(limit - taken)
    part = max(1, batch // 2)
    one, other = (
        max(0, min(part, places_left(mine=mine, taken=taken, limit=limit)))
        for mine in (first, second)
    )
    given_out = one, min(other, batch - one)
    return given_out if any(given_out) else None


def test_those_that_wait_are_called_in_turns_and_only_with_room() -> None:
    pool: Pool[str] = Pool()
    for _ in range(9):
        pool.acquire("flood")
    for waiter in ("first of the flood", "second of the flood"):
        pool.add_waiter("flood", waiter)
    pool.add_waiter("other", "another")

    assert pool.pop_waiter(10) == "another"
    assert pool.pop_waiter(10) is None
    pool.release("flood")
    assert pool.pop_waiter(10) == "first of the flood"
