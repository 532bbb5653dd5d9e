"""The clock of a process follows the database's, and not the machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_service.db import clock
from tests.integration.support.clocks import CLOCK_TOLERANCE, HOUR, true_now

pytestmark = pytest.mark.django_db


def test_the_database_is_asked_once_for_many_looks() -> None:
    clock.read()

    with CaptureQueriesContext(connection) as said:
        for _ in range(100):
            clock.now()

    assert len(said) <= 1


def test_setting_the_machines_clock_changes_nothing() -> None:
    known = clock.read()

    with time_machine.travel(datetime(2020, 1, 1, tzinfo=UTC), tick=True):
        assert clock.now() - known < CLOCK_TOLERANCE


def test_an_answer_that_took_long_is_no_clock() -> None:
    long_ago = true_now() - HOUR

    clock.record_reading(long_ago, asked_at=clock.ticks() - 20)

    assert true_now() - clock.now() < CLOCK_TOLERANCE


def test_the_quickest_answer_counts() -> None:
    exact = clock.read()

    clock.record_reading(exact - timedelta(seconds=0.5), asked_at=clock.ticks())

    assert clock.now() >= exact


def test_a_database_whose_clock_is_set_back_is_followed() -> None:
    later = true_now() + HOUR
    asked_at = clock.ticks() - clock.READING_LIFETIME
    clock.record_reading(later, asked_at=asked_at)

    assert clock.now() - true_now() < CLOCK_TOLERANCE
