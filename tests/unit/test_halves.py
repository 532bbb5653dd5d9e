"""The two halves of a cell have about as many tasks and runs."""

from __future__ import annotations

import pytest

from tasks_api.moving.halves import TenantWeight, choose_half


def tenants(*sizes: tuple[int, int]) -> list[TenantWeight]:
    return [TenantWeight(number, *size) for number, size in enumerate(sizes, start=1)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([(5, 5)], []),
        ([(5, 0), (5, 0)], [2]),
        # The largest one stays.
        ([(1, 1), (9, 9), (1, 1)], [1, 3]),
        # Two have the tasks, and two have the runs.
        ([(10, 0), (0, 10), (10, 0), (0, 10)], [2, 3]),
        # Tenants that have nothing are dealt out.
        ([(0, 0)] * 4, [2, 4]),
    ],
)
def test_the_larger_tenants_are_dealt_to_the_lighter_side(
    sizes: list[tuple[int, int]], expected: list[int]
) -> None:
    assert choose_half(tenants(*sizes)) == expected


def test_many_tenants_are_balanced() -> None:
    known = tenants(*((number**2, 1000 - number) for number in range(1000)))

    going = set(choose_half(known))

    for measure in ("tasks", "runs"):
        both = sum(getattr(each, measure) for each in known)
        some = sum(getattr(each, measure) for each in known if each.id in going)
        assert some / both == pytest.approx(0.5, abs=0.02)
