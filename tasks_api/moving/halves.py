"""Choose the tenants of one half of a cell."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import NamedTuple


class TenantWeight(NamedTuple):
    id: int
    tasks: int
    runs: int


def choose_half(weights: Iterable[TenantWeight]) -> list[int]:
    """The tenants that go, so that both sides have about as many tasks, and runs.

    The largest tenants are dealt first, each to the side that has less of what it has. The
    largest one stays.
    """
    known = list(weights)
    all_tasks = sum(each.tasks for each in known) or 1
    all_runs = sum(each.runs for each in known) or 1
    # Tenants without tasks and runs are dealt out, too.
    of_one = 1 / (1000 * (len(known) or 1))
    shares = {
        each.id: (each.tasks / all_tasks, each.runs / all_runs, of_one)
        for each in known
    }
    chosen = []
    # By how much the side that stays has more.
    surplus = [0.0, 0.0, 0.0]
    for tenant_id in sorted(shares, key=lambda each: (-sum(shares[each]), each)):
        share = shares[tenant_id]
        goes = sum(map(operator.mul, surplus, share)) > 0
        sign = -1 if goes else 1
        surplus = [
            more + sign * part for more, part in zip(surplus, share, strict=True)
        ]
        if goes:
            chosen.append(tenant_id)
    return sorted(chosen)
