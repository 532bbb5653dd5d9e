"""Work done by several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


def run_in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """The answers of `work`, done at the same moment on connections of their own."""
    start = threading.Barrier(count)
    answers: list[Any] = []

    def run() -> None:
        start.wait()
        try:
            answers.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@contextmanager
def held_elsewhere(work: Callable[[], Any]) -> Iterator[None]:
    """A transaction of somebody else's that has done this and is not over."""
    is_done, is_over = threading.Event(), threading.Event()

    def begin() -> None:
        try:
            with transaction.atomic():
                work()
                is_done.set()
                is_over.wait()
        finally:
            connection.close()

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        assert is_done.wait(20)
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    """A statement of this connection that waits for a lock fails after a while."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '3s'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")


def is_a_lock_awaited() -> bool:
    """Whether another connection waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        # Not pg_stat_activity, which stays as it is within a transaction.
        cursor.execute(
            "SELECT FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return cursor.fetchone() is not None
