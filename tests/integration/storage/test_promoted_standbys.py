"""The look-out for promoted standbys, on a machine that lacks something."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from scheduler_service.db.primaries import HostPort, _PrimaryWatcher

pytestmark = pytest.mark.django_db


@contextmanager
def files_left(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_lacks_files_looks_again_when_there_are_some() -> None:
    params = connection.get_connection_params()
    names = params.keys() & {"host", "port", "user", "dbname"}
    place = HostPort("here")
    watch = _PrimaryWatcher({place: {name: params[name] for name in names}})

    # None, and then one for a socket and none to wait with.
    for count in (0, 1):
        with files_left(count):
            watch.look_at_all()
        assert watch._open == {}

    watch.look_at_all()
    session = watch._open[place]
    assert not session.closed
    session.close()
