"""Runs a round: breaks what the plan says, repairs everything, and gathers the evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.acceptance.harness import ROOT, eventually
from tests.chaos import observations
from tests.chaos.agenda import POLL_INTERVAL, FaultAgenda, RunningFault
from tests.chaos.calendar_clients import CalendarClient
from tests.chaos.causes import runs_to_explain
from tests.chaos.clients import CallLog, ChaosClient, ServiceAddress
from tests.chaos.cluster import HOSTILE_TENANT, TENANT, Cluster
from tests.chaos.evidence import Evidence, Fault
from tests.chaos.faults import ALL_PARTS, KIND_BY_NAME, UPGRADE, record_fault
from tests.chaos.hostile_tenant import HostileClient
from tests.chaos.lane_clients import LaneClient
from tests.chaos.plan import LONG_ROUND, PlannedFault
from tests.chaos.release_gaps import known_to
from tests.chaos.schedule_clients import (
    BOUNDED_RUNS,
    QUOTA_OF_RUNS,
    make_control_clients,
)
from tests.chaos.schedule_invariants import runs_with_accounts
from tests.chaos.steps import FaultSteps
from tests.chaos.work_shares import WorkShares, answers_by_release
from tests.chaos.workloads import NewHostClient, make_clients

# Seconds until the service must be whole again, and then have finished everything.
REPAIR_TIMEOUT, DRAIN_TIMEOUT = 120.0, 120.0
# Seconds that tasks live before anything is broken.
CALM_SECONDS = 3.0
# Seconds at the end of a long round: until faults have no effect any more, and in which
# nothing is broken.
SETTLE_SECONDS, FINAL_CALM_SECONDS = 10.0, 12.0

PrintLine = Callable[[str], None]


class Orchestrator(FaultAgenda[PlannedFault]):
    """Breaks the parts of one cluster."""

    def __init__(
        self, cluster: Cluster, planned: Sequence[PlannedFault], print_line: PrintLine
    ) -> None:
        super().__init__(planned)
        self.cluster = cluster
        self.faults: list[Fault] = []
        self._print_line = print_line

    def start_again(self) -> None:
        self.cluster.restart_dead_parts()

    def begin(self, planned: PlannedFault) -> FaultSteps:
        action = KIND_BY_NAME[planned.kind].action
        at = time.monotonic() - self.began
        self._print_line(f"{at:7.2f} s  {planned.description}")
        return action(self.cluster, planned.victims, planned.seconds)

    def end(self, fault: RunningFault[PlannedFault]) -> None:
        planned, kind = fault.planned, KIND_BY_NAME[fault.planned.kind]
        began_at = self.cluster.struck_at.pop(planned.victims, fault.began_at)
        found = record_fault(kind, planned.victims, began_at, time.time())
        self.faults.append(found)


@dataclass(frozen=True)
class RoundResult:
    evidence: Evidence
    # Seconds until every part was alive again, and until nothing was left to do.
    repair_seconds: float
    drain_seconds: float


def run_round(
    cluster: Cluster,
    planned: Sequence[PlannedFault],
    *,
    seed: int,
    seconds: float,
    print_line: PrintLine,
) -> RoundResult:
    """Run clients and faults on a started cluster."""
    began, call_log = time.monotonic(), CallLog()
    shares = WorkShares(cluster)
    if cluster.fleet.older:
        shares.start()
    clients = make_clients(seed, _service_address(cluster), call_log)
    _start(clients)
    time.sleep(CALM_SECONDS)
    faults = _upgrade(cluster, print_line) if cluster.code_root != ROOT else []
    # A client asks web for its token.
    eventually(cluster.is_whole, timeout=REPAIR_TIMEOUT)
    late_clients = _make_late_clients(cluster, seed, call_log)
    _start(late_clients)
    clients += late_clients
    orchestrator = Orchestrator(cluster, planned, print_line)
    orchestrator.run_until(max(began, time.monotonic() - CALM_SECONDS) + seconds)
    faults += orchestrator.faults
    print_line("All faults are over.")
    repair_seconds = _measure(
        lambda: eventually(cluster.is_whole, timeout=REPAIR_TIMEOUT)
    )
    if seconds >= LONG_ROUND:
        faults.append(_stay_calm())
    drain_seconds = _measure(lambda: _drain(cluster, clients))
    cluster.restart_dead_parts()
    evidence = _gather(cluster, call_log, faults, time.monotonic() - began)
    evidence = replace(evidence, runs_by_release=shares.stop())
    return RoundResult(evidence, repair_seconds, drain_seconds)


def _make_late_clients(
    cluster: Cluster, seed: int, call_log: CallLog
) -> list[ChaosClient]:
    """The clients that need what the first release cannot do."""
    service = _service_address(cluster)
    kinds = (NewHostClient, LaneClient, CalendarClient)
    cluster.make_administrator()
    clients: list[ChaosClient] = [
        *(kind(1, seed, service, call_log) for kind in kinds),
        *make_control_clients(
            *(seed, service, call_log),
            bounded_token=cluster.issue_bounded_token(BOUNDED_RUNS),
            counted_token=cluster.issue_counted_token(QUOTA_OF_RUNS),
        ),
        _make_hostile_client(cluster, seed),
    ]
    return known_to(cluster.older_code, clients)


def _gather(
    cluster: Cluster, call_log: CallLog, faults: Sequence[Fault], seconds: float
) -> Evidence:
    runs, arrivals = (
        observations.read_runs(cluster),
        observations.read_arrivals(cluster),
    )
    return Evidence(
        call_log.calls,
        runs,
        arrivals,
        faults,
        cluster.part_failures,
        observations.read_notes(cluster),
        observations.count_poison_runs(cluster),
        seconds,
        observations.ask_why(cluster, runs_to_explain(runs, arrivals)),
        call_log.control,
        observations.ask_accounts(cluster, runs_with_accounts(runs)),
        BOUNDED_RUNS,
        cluster.fleet.workers,
        answers_by_release=answers_by_release(cluster, call_log.answers),
    )


def _service_address(cluster: Cluster) -> ServiceAddress:
    token = str(cluster.api.headers["Authorization"]).removeprefix("Bearer ")
    first, *others = map(cluster.web_url, cluster.fleet.webs)
    return ServiceAddress(first, token, cluster.target_url, *others)


def _make_hostile_client(cluster: Cluster, seed: int) -> HostileClient:
    token = cluster.manage("issue_token", "--tenant", HOSTILE_TENANT, "--user", "eve")
    service = _service_address(cluster)._replace(token=token)
    return HostileClient(1, seed, service, CallLog())


def _start(clients: Sequence[ChaosClient]) -> None:
    for client in clients:
        client.start()


def _upgrade(cluster: Cluster, print_line: PrintLine) -> list[Fault]:
    """The round began on the release before; it goes on with this one."""
    planned = [PlannedFault(0.0, UPGRADE.name, ALL_PARTS, 0.0)]
    orchestrator = Orchestrator(cluster, planned, print_line)
    orchestrator.run_until(time.monotonic() + CALM_SECONDS)
    print_line("The upgrade is over.")
    return orchestrator.faults


def _stay_calm() -> Fault:
    """Break nothing for a while; the hostile tenant is still there."""
    # Earlier faults may still have effects.
    time.sleep(SETTLE_SECONDS)
    began_at = time.time()
    time.sleep(FINAL_CALM_SECONDS)
    return Fault("calm", (), began_at, time.time(), is_harmless=True)


def _drain(cluster: Cluster, clients: Sequence[ChaosClient]) -> None:
    for client in clients:
        client.stop()
    for client in clients:
        client.join()
    for client in clients:
        client.clean_up()
    delete_unknown_tasks(cluster, clients[0])
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while not cluster.is_drained() and time.monotonic() < deadline:
        # A run that is not over by then is a violation.
        time.sleep(POLL_INTERVAL)


def delete_unknown_tasks(
    cluster: Cluster, client: ChaosClient, tenant: str = TENANT
) -> None:
    """Delete the recurring tasks of whose creation no client was told."""
    for task_id, name, mark in observations.read_recurring_tasks(cluster, tenant):
        path = f"/?job_id={name}" if name else f"/tasks/id/{task_id}"
        client.call(mark, "delete", "DELETE", path, is_cron=bool(name))


def _measure(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began
