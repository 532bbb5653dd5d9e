"""The clients whose tasks end, recur, are made up for, are backfilled, or have bounds."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from tests.chaos.clients import (
    CallLog,
    KnownTask,
    ServiceAddress,
    format_time,
)
from tests.chaos.control_calls import BackfillCall
from tests.chaos.evidence import (
    ClientCall,
    FireTimeGrid,
    FireTimes,
    FireTimeUnion,
)
from tests.chaos.workloads import PeriodicClient, periodic_body

# Requests of the bounded token that may start in a day.
BOUNDED_RUNS = 40
# Runs a day that the tenant with a quota never reaches.
QUOTA_OF_RUNS = 10_000_000
# Tasks that are paused and resumed together.
GROUP_SIZE = 4


class EndsClient(PeriodicClient):
    """Creates tasks that end after some runs."""

    kind = "ended"
    task_count = 4

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        misfire = {"misfire": "all"} if self.rng.random() < 0.5 else {}
        return "ok", {"max_runs": self.rng.randrange(1, 5)} | misfire


class RuleClient(PeriodicClient):
    """Creates tasks with recurrence rules, or with several schedules."""

    kind = "timed"
    task_count = 5

    def create(self) -> None:
        self.schedule(self.rng.uniform(15.0, 30.0), self.create)
        start = round(time.time() + self.rng.uniform(2.0, 4.0)) * 1000
        mark = self.new_mark()
        draw = self.rng.choice((self._draw_rule, self._draw_schedules))
        fire_times, body = draw(start)
        body |= {"task_type": "periodic", "url": self.target_url("ok", mark)}
        if task := self.create_task(mark, fire_times, body):
            self.schedule_change(task)

    def _draw_rule(self, start: int) -> tuple[FireTimes, dict[str, Any]]:
        every, count = self.rng.choice((4, 5, 7)), self.rng.randrange(2, 10)
        end = start + (count - 1) * every * 1000
        begin = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start / 1000))
        rule = f"FREQ=SECONDLY;INTERVAL={every};COUNT={count}"
        text = f"DTSTART:{begin}\nRRULE:{rule}"
        return FireTimeGrid(start, every * 1000, end), {"rrule": text}

    def _draw_schedules(self, start: int) -> tuple[FireTimes, dict[str, Any]]:
        end = start + self.rng.randrange(10, 40) * 1000
        grids = [FireTimeGrid(start, every * 1000, end) for every in (5, 7)]
        once = FireTimeGrid(start + self.rng.randrange(1, 8) * 1000)
        schedules = [
            *(
                {
                    "frequency": grid.every // 1000,
                    "start_datetime": format_time(start),
                }
                for grid in grids
            ),
            {"run_datetime": format_time(once.start)},
        ]
        body = {
            "schedules": schedules,
            "start_datetime": format_time(start),
            "end_datetime": format_time(end),
        }
        return FireTimeUnion((*grids, once)), body


class CatchUpClient(PeriodicClient):
    """Pauses and resumes the tasks of a tag at once, and makes up for the pause."""

    kind = "caught"

    def begin(self) -> None:
        self._begin_group()

    def _begin_group(self) -> None:
        """Create a group of tasks, and replace it after a while."""
        tag, start = self.new_mark(), int(time.time() * 1000) + 1500
        group = []
        for number in range(GROUP_SIZE):
            grid = FireTimeGrid(start + 700 * number, 4000, start + 60_000)
            mark = self.new_mark()
            body = periodic_body(grid, self.target_url("ok", mark)) | {"tags": [tag]}
            if task := self.create_task(mark, grid, body):
                group.append(task)
        self.schedule(self.rng.uniform(3.0, 6.0), lambda: self._pause_group(tag, group))
        self.schedule(self.rng.uniform(40.0, 50.0), self._begin_group)

    def _pause_group(self, tag: str, group: list[KnownTask]) -> None:
        if not (known := _certain(group)):
            return
        body = {"filter": {"tag": tag}}
        call = self._call_group(known, "pause", body)
        for task in known:
            task.is_paused = call.is_done
        delay = self.rng.uniform(2.0, 12.0)
        self.schedule(delay, lambda: self._resume_group(tag, group))

    def _resume_group(self, tag: str, group: list[KnownTask]) -> None:
        if not (known := _certain(group)):
            return
        if known[0].is_paused:
            catch_up = self.rng.choice(("latest", "all"))
            body = {"filter": {"tag": tag}, "catch_up": catch_up}
            call = self._call_group(known, "resume", body, catch_up)
            for task in known:
                task.is_paused = not call.is_done
        delay = self.rng.uniform(3.0, 9.0)
        self.schedule(delay, lambda: self._pause_group(tag, group))

    def _call_group(
        self,
        group: list[KnownTask],
        verb: str,
        body: dict[str, Any],
        catch_up: str = "",
    ) -> ClientCall:
        """Call for all tasks at once, and log the call for each of them."""
        sent_at = time.time()
        status, _ = self.send("POST", f"/tasks/{verb}/", body)
        answered_at = time.time()
        for task in group:
            call = ClientCall(
                *(task.mark, verb, sent_at, answered_at, status), catch_up=catch_up
            )
            self.call_log.append(call)
            self.record_answer(task, call)
        return call


def _certain(group: list[KnownTask]) -> list[KnownTask]:
    return [task for task in group if not (task.is_uncertain or task.is_gone)]


class BackfillClient(PeriodicClient):
    """Leaves its tasks alone, and asks now and then for what they would have sent."""

    kind = "filled"
    task_count = 3

    def schedule_change(self, task: KnownTask) -> None:
        self.schedule(self.rng.uniform(3.0, 8.0), lambda: self._backfill(task))

    def _backfill(self, task: KnownTask) -> None:
        if task.is_gone or task.is_uncertain:
            return
        until = int(time.time()) * 1000
        since = until - self.rng.randrange(10, 50) * 1000
        body = {
            "which": "all",
            "from": format_time(since),
            "to": format_time(until),
            "pace": "10/second",
        }
        sent_at = time.time()
        status, answer = self.send("POST", f"/tasks/{task.task_id}/backfill/", body)
        call = BackfillCall(task.mark, sent_at, time.time(), status, since, until)
        if call.is_done:
            call = replace(
                call, backfill=answer["backfill"] or "", count=answer["count"]
            )
        self.call_log.control.backfills.append(call)
        if call.is_uncertain:
            self.delete(task)
        else:
            self.schedule(self.rng.uniform(8.0, 20.0), lambda: self._backfill(task))


class BoundedClient(PeriodicClient):
    """Has a token that starts only so many requests a day."""

    kind = "bounded"
    task_count = 3


class CountedClient(PeriodicClient):
    """Belongs to a tenant with a quota of runs a day."""

    kind = "counted"
    task_count = 4

    def clean_up(self) -> None:
        super().clean_up()
        _, answer = self.send("GET", "/tasks/")
        for task in answer["tasks"]:
            self.send("DELETE", f"/tasks/id/{task['id']}")


def make_control_clients(
    seed: int,
    service: ServiceAddress,
    call_log: CallLog,
    *,
    bounded_token: str,
    counted_token: str,
) -> list[PeriodicClient]:
    """The clients whose tokens are these, and those that have the token of the service."""
    kinds = (EndsClient, RuleClient, CatchUpClient, BackfillClient)
    bounded = service._replace(token=bounded_token)
    counted = service._replace(token=counted_token)
    return [
        *(kind(1, seed, service, call_log) for kind in kinds),
        BoundedClient(1, seed, bounded, call_log),
        CountedClient(1, seed, counted, call_log),
    ]
