"""Turn claimed runs into requests, so that the trouble of one is nobody else's."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, partial

from django.conf import settings
from django.db import Error as DatabaseError

from accounts import encryption
from accounts.services import load_keyrings
from tasks_api.delivery import faults, request, retry
from tasks_api.delivery.request import CannotBeBuilt, Claimed, Credentials, Outcome
from tasks_api.domain.states import Trouble
from tasks_api.worker import long_work

logger = logging.getLogger(__name__)

# A secret that was rotated is used this much longer at most.
CREDENTIALS_LIFETIME = 5.0

Build = Callable[[Claimed, Credentials], request.Request]


def builder(now: datetime) -> Build:
    """What makes requests; Django's settings, slow to read, are read once for many."""
    return partial(
        request.build,
        now=now,
        timeout=settings.SCHEDULER_REQUEST_TIMEOUT,
        unseal=_unseal,
        open_url=_open_url,
        run_key=long_work.keys()[0],
        public_url=settings.SCHEDULER_PUBLIC_URL,
    )


def attempt(
    build: Build, run: Claimed, credentials: Credentials | None
) -> request.Request | Outcome:
    """The request for a run, or else what becomes of the run without one.

    What nobody foresaw is most likely a row that a newer release has written: another
    worker may know it. Memory that is missing is missing for the others, too, and raised.
    """
    try:
        if credentials is None:
            raise CannotBeBuilt("its tenant's secrets cannot be read")
        retry.check(run)
        return build(run, credentials)
    except CannotBeBuilt as error:
        return Outcome(None, f"could not be built: {error}", 0)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this run's alone)
        logger.warning(
            "A run is left to other workers, because this one does not understand it: %s",
            faults.brief(error),
            extra={"run_id": run.run_id, "tenant_id": run.tenant_id},
        )
        told = f"not understood by its worker ({type(error).__name__})"
        return Outcome(None, told, 0, was_sent=False, trouble=Trouble.NOT_UNDERSTOOD)


@lru_cache(maxsize=1000)
def _unseal(sealed: str) -> list[str]:
    try:
        values: list[str] = json.loads(encryption.decrypt(sealed))
    except encryption.Undecryptable:
        raise CannotBeBuilt("SECRET_KEY does not open its headers") from None
    return values


@lru_cache(maxsize=1000)
def _open_url(stored: str) -> str:
    try:
        return encryption.open_url(stored)
    except encryption.Undecryptable:
        told = "SECRET_KEY does not open the credentials in its URL"
        raise CannotBeBuilt(told) from None


class KnownCredentials:
    """What the tenants' requests are made with, read once in a while."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, Credentials | None]] = {}

    def of(
        self, tenant_ids: Iterable[int], now: datetime
    ) -> Mapping[int, Credentials | None]:
        """Those of each tenant; None where they are such that reading them fails."""
        oldest = time.monotonic() - CREDENTIALS_LIFETIME
        wanted = set(tenant_ids)
        stale = {
            tenant_id
            for tenant_id in wanted
            if tenant_id not in self._known or self._known[tenant_id][0] < oldest
        }
        if stale:
            read_at = time.monotonic()
            for tenant_id, credentials in _read(stale, now).items():
                self._known[tenant_id] = read_at, credentials
        return {tenant_id: self._known[tenant_id][1] for tenant_id in wanted}


def _read(tenant_ids: Collection[int], now: datetime) -> dict[int, Credentials | None]:
    try:
        rings = load_keyrings(tenant_ids, now)
    except (DatabaseError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (one tenant's row, and nobody else's)
        if len(tenant_ids) > 1:
            alone = [_read({tenant_id}, now) for tenant_id in tenant_ids]
            return {key: one for each in alone for key, one in each.items()}
        [tenant_id] = tenant_ids
        logger.error(
            "The secrets of tenant %s cannot be read, so its runs fail: %s",
            tenant_id,
            faults.brief(error),
        )
        return {tenant_id: None}
    return {key: Credentials(*rings.get(key, ())) for key in tenant_ids}
