"""Build the requests of runs that were taken; the error of one run affects no other."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, partial

from django.conf import settings
from django.db import Error as DatabaseError

from accounts import encryption
from accounts.services import load_keyrings
from tasks_api.delivery import faults, request, retry
from tasks_api.delivery.request import BuildError, ClaimedRun, Credentials, HttpResult
from tasks_api.domain.states import Trouble
from tasks_api.worker import failure_log, long_work
from tasks_api.worker.channel_messages import Build, Built

logger = logging.getLogger(__name__)
# One for the process, which has one taker.
_unreadable_rows = failure_log.UnreadableRowLog()

# Seconds that a secret stays in use at most after it was rotated.
CREDENTIALS_LIFETIME = 5.0


def make_builder(now: datetime) -> Build:
    """A function that builds requests. It reads Django's settings, which is slow, only once."""
    return partial(
        request.build_request,
        now=now,
        timeout=settings.SCHEDULER_REQUEST_TIMEOUT,
        unseal=_unseal,
        open_url=_open_url,
        run_key=long_work.run_token_keys()[0],
        public_url=settings.SCHEDULER_PUBLIC_URL,
    )


def try_build(
    build: Build, run: ClaimedRun, credentials: Credentials | None
) -> Built | HttpResult:
    """The request or the mail for a run, or the result of a run that has none.

    An unexpected error is most likely a row that a newer release has written, so another
    worker may understand it. A MemoryError concerns all runs, and is raised.
    """
    try:
        if credentials is None:
            raise BuildError("its tenant's secrets cannot be read")
        retry.check_options(run)
        return build(run, credentials)
    except BuildError as error:
        return HttpResult(None, f"could not be built: {error}", 0)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (any error is this run's alone)
        _unreadable_rows.report(run, error)
        problem = f"not understood by its worker ({type(error).__name__})"
        return HttpResult(
            None, problem, 0, was_sent=False, trouble=Trouble.NOT_UNDERSTOOD
        )


@lru_cache(maxsize=1000)
def _unseal(sealed: str) -> list[str]:
    try:
        values: list[str] = json.loads(encryption.decrypt(sealed))
    except encryption.Undecryptable:
        raise BuildError("SECRET_KEY does not open its headers") from None
    return values


@lru_cache(maxsize=1000)
def _open_url(stored: str) -> str:
    try:
        return encryption.open_url(stored)
    except encryption.Undecryptable:
        problem = "SECRET_KEY does not open the credentials in its URL"
        raise BuildError(problem) from None


class CredentialsCache:
    """Credentials of tenants, read again every few seconds."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Credentials | None]] = {}

    def get_many(
        self, tenant_ids: Iterable[int], now: datetime
    ) -> Mapping[int, Credentials | None]:
        """The credentials of each tenant; None if reading them fails."""
        oldest = time.monotonic() - CREDENTIALS_LIFETIME
        wanted = set(tenant_ids)
        stale = {
            tenant_id
            for tenant_id in wanted
            if tenant_id not in self._known or self._known[tenant_id][0] < oldest
        }
        if stale:
            read_at = time.monotonic()
            for tenant_id, credentials in _read_credentials(stale, now).items():
                self._known[tenant_id] = read_at, credentials
        return {tenant_id: self._known[tenant_id][1] for tenant_id in wanted}


def _read_credentials(
    tenant_ids: Collection[int], now: datetime
) -> dict[int, Credentials | None]:
    try:
        rings = load_keyrings(tenant_ids, now)
    except (DatabaseError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (one tenant's row alone)
        if len(tenant_ids) > 1:
            found: dict[int, Credentials | None] = {}
            for tenant_id in tenant_ids:
                found |= _read_credentials({tenant_id}, now)
            return found
        [tenant_id] = tenant_ids
        logger.error(
            "The secrets of tenant %s cannot be read, so its runs fail: %s",
            tenant_id,
            faults.summarize(error),
        )
        return {tenant_id: None}
    return {key: Credentials(*rings.get(key, ())) for key in tenant_ids}
