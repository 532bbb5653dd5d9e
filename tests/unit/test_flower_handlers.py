"""Who has shown too many wrong passwords to Flower."""

from __future__ import annotations

from scheduler_service.compat.flower_handlers import (
    FAILURE_WINDOW,
    MAX_ADDRESSES,
    MAX_FAILURES,
    FailedLogins,
)


def test_failures_are_too_many_for_a_while_and_of_one_address() -> None:
    failures = FailedLogins()
    for second in range(MAX_FAILURES):
        assert not failures.are_too_many("a", second)
        failures.add("a", second)

    assert failures.are_too_many("a", FAILURE_WINDOW - 1)
    assert not failures.are_too_many("a", FAILURE_WINDOW)
    assert not failures.are_too_many("b", FAILURE_WINDOW - 1)


def test_only_so_many_addresses_are_kept_in_mind() -> None:
    failures = FailedLogins()
    for number in range(2 * MAX_ADDRESSES):
        failures.add(str(number), 0)

    assert len(failures._of) == MAX_ADDRESSES
