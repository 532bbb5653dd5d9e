"""Who has shown too many wrong passwords to Flower."""

from __future__ import annotations

from scheduler_service.flower import MOST_ADDRESSES, MOST_FAILURES, WINDOW, Failures


def test_failures_are_too_many_for_a_while_and_of_one_address() -> None:
    failures = Failures()
    for second in range(MOST_FAILURES):
        assert not failures.are_too_many("a", second)
        failures.note("a", second)

    assert failures.are_too_many("a", WINDOW - 1)
    assert not failures.are_too_many("a", WINDOW)
    assert not failures.are_too_many("b", WINDOW - 1)


def test_only_so_many_addresses_are_kept_in_mind() -> None:
    failures = Failures()
    for number in range(2 * MOST_ADDRESSES):
        failures.note(str(number), 0)

    assert len(failures._of) == MOST_ADDRESSES
