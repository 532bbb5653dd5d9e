"""The lanes of a tenant that have a rate, found by the tasks that are to enter them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db.models import Q

from accounts.models import User
from tasks_api.domain.admission import Capacity
from tasks_api.domain.guard import host_of
from tasks_api.domain.lanes import PERIODS
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Lane

# Seconds after which every process knows that a tenant has lanes of hosts. A task that
# is created before that may as well have been created before the lane.
LIFETIME = 5.0
_without_hosts: dict[int, float] = {}


class RatedLane(NamedTuple):
    """A lane with its rate, which the ceiling of operators may lower."""

    id: int
    name: str
    capacity: Capacity


class RatedLanes(NamedTuple):
    """Lanes that tasks name, and those of their target hosts."""

    by_name: Mapping[str, RatedLane]
    by_host: Mapping[str, RatedLane]

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def of(self, spec: TaskSpec) -> RatedLane | None:
        if spec.lane_name:
            return self.by_name.get(spec.lane_name)
        return self.by_host.get(host_of(spec.url).lower()) if spec.url else None


NO_LANES = RatedLanes({}, {})


def find(owner: User, specs: Iterable[TaskSpec]) -> RatedLanes:
    """Return the lanes with a rate that tasks of a user belong to."""
    tenant_id = owner.tenant_id
    names, hosts = set(), set()
    for spec in specs:
        if spec.lane_name:
            names.add(spec.lane_name)
        elif spec.url:
            hosts.add(host_of(spec.url).lower())
    if tenant_id is None or (not names and not _may_have_hosts(tenant_id)):
        return NO_LANES
    lanes = Lane.objects.filter(Q(name__in=names) | Q(host__in=hosts - {""}))
    by_name, by_host = {}, {}
    for lane in lanes.filter(tenant=tenant_id).select_related("tenant__lane_ceiling"):
        if (capacity := capacity_of(lane)) is not None:
            rated = RatedLane(lane.pk, lane.name, capacity)
            by_name[lane.name] = rated
            if lane.host:
                by_host[lane.host] = rated
    return RatedLanes(by_name, by_host)


def capacity_of(lane: Lane) -> Capacity | None:
    """Return what a lane lets start in the long run; None without a rate.

    A burst lets several start at once, and the lane makes up for them.
    """
    ceiling = getattr(lane.tenant, "lane_ceiling", None)
    most = ceiling.max_per_second if ceiling else None
    known = [
        Capacity(max(1, limit - lane.burst + 1), PERIODS[per])
        for limit, per in ((lane.rate_limit, lane.rate_per), (most, "second"))
        if limit is not None
    ]
    return min(known, key=lambda capacity: capacity.rate, default=None)


def _may_have_hosts(tenant_id: int) -> bool:
    """Whether a tenant has lanes of hosts; that it has none is known for seconds."""
    if _without_hosts.get(tenant_id, 0) > time.monotonic():
        return False
    if Lane.objects.filter(tenant=tenant_id).exclude(host="").exists():
        return True
    _without_hosts[tenant_id] = time.monotonic() + LIFETIME
    return False


def forget(tenant_id: int) -> None:
    """Let this process look for the lanes of a tenant anew."""
    _without_hosts.pop(tenant_id, None)
