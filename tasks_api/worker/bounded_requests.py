"""Refuse requests that the bounds of their task's token forbid, just before they start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accounts.services import token_bounds
from tasks_api.delivery.mail import Mail
from tasks_api.delivery.request import BuildError, ClaimedRun, Credentials
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.exceptions import OutOfBounds
from tasks_api.worker.channel_messages import Build, Built


def with_bounds(build: Build, runs: Iterable[ClaimedRun]) -> Build:
    """Like `build`, but requests of tasks with bounds are checked against them."""
    ids = {run.bounds_id for run in runs if run.bounds_id is not None}
    if not ids:
        return build
    known = _load(ids)

    def build_within(run: ClaimedRun, credentials: Credentials) -> Built:
        if run.bounds_id is None:
            return build(run, credentials)
        if run.queue:
            raise BuildError("the bounds of its token allow no queue")
        built = build(run, credentials)
        bounds = known.get(run.bounds_id)
        if bounds is None or isinstance(built, Mail):
            raise BuildError("nothing is known of the bounds of its token")
        names = [name for name, _ in built.headers]
        try:
            bounds.require_request(built.method, built.url, names)
        except OutOfBounds as refusal:
            raise BuildError(str(refusal)) from None
        return built._replace(is_sent_once=True)

    return build_within


def _load(ids: set[int]) -> Mapping[int, Bounds]:
    rows = token_bounds.load_bounds(ids)
    return {pk: token_bounds.bounds_of(row) for pk, row in rows.items()}
