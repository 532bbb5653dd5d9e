"""The clients of the tenants, which know nothing but the door."""

from __future__ import annotations

import time
from collections.abc import Sequence

import requests

from tests.chaos.cells.cell_group import CellTenant
from tests.chaos.cells.evidence import RoutedAnswer
from tests.chaos.clients import CallLog, ChaosClient, ServiceAddress
from tests.chaos.workloads import (
    OneTimeClient,
    PeriodicClient,
    PolicyClient,
    SteadyClient,
)


class ManySteadyClient(SteadyClient):
    """Has so many tasks that a few seconds show the lateness of a cell."""

    task_count = 30


KINDS: tuple[type[ChaosClient], ...] = (
    ManySteadyClient,
    OneTimeClient,
    PeriodicClient,
    PolicyClient,
)


class AnswerLog:
    """The answers of all tenants, and the cells that they came from."""

    def __init__(self) -> None:
        self.answers: list[RoutedAnswer] = []

    def follow(self, client: ChaosClient, tenant: str) -> None:
        def note(answer: requests.Response) -> None:
            at = time.time()
            sent_at = at - answer.elapsed.total_seconds()
            cell = answer.headers.get("X-Scheduler-Cell", "")
            self.answers.append(
                RoutedAnswer(tenant, sent_at, at, answer.status_code, cell)
            )

        client.show_answers(note)


def make_group_clients(
    tenants: Sequence[CellTenant],
    seed: int,
    target_url: str,
    call_log: CallLog,
    answer_log: AnswerLog,
) -> dict[str, list[ChaosClient]]:
    """The clients of each tenant; their numbers are those of the tenants."""
    made = {}
    for tenant in tenants:
        service = ServiceAddress(tenant.url, tenant.token, target_url)
        clients = [kind(tenant.number, seed, service, call_log) for kind in KINDS]
        for client in clients:
            answer_log.follow(client, tenant.name)
        made[tenant.name] = clients
    return made
