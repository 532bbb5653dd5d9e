"""The client that keeps calendars, and gives them new versions while tasks follow them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.chaos.clients import RETRY_DELAY, format_time
from tests.chaos.control_calls import CalendarCall, Span
from tests.chaos.workloads import PeriodicClient

# What the tasks of a calendar say of it.
USES: tuple[dict[str, Any], ...] = (
    {"use": "exclude"},
    {"use": "only"},
    {"use": "hold", "pace": "120/minute"},
    {"use": "hold"},
)
# Seconds that a calendar covers at a time, and that lie in between.
COVERED, SPARED = (3, 9), (3, 7)
SPAN_COUNT = 8
# How often a client ends a hold while no part is broken any more.
MAX_TRIES = 20
DAY_MS = 86_400_000


@dataclass
class KnownCalendar:
    name: str
    use: dict[str, Any]
    is_uncertain: bool = False


class CalendarClient(PeriodicClient):
    """Keeps a calendar of each use. It leaves one of which it got no answer, as with lanes."""

    kind = "dated"
    task_count = 12

    def begin(self) -> None:
        self._calendars: list[KnownCalendar] = []
        for use in USES:
            self._create_calendar(use)
        super().begin()

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        usable = [each for each in self._calendars if not each.is_uncertain]
        if not usable:
            return "ok", {}
        chosen = self.rng.choice(usable)
        rules = {chosen.use["use"]: [chosen.name]}
        if "pace" in chosen.use:
            rules["pace"] = chosen.use["pace"]
        return self.rng.choice(("ok", "ok", "brief")), {"calendars": rules}

    def _create_calendar(self, use: dict[str, Any]) -> None:
        calendar = KnownCalendar(self.new_mark(), use)
        spans = self._draw_spans()
        body = {"name": calendar.name, **_ranges(spans)}
        call = self._call_calendar(calendar, "POST", "/calendars/", body, spans)
        if not call.is_done:
            self.schedule(RETRY_DELAY, lambda: self._create_calendar(use))
            return
        self._calendars.append(calendar)
        self._schedule_version(calendar)

    def _schedule_version(self, calendar: KnownCalendar) -> None:
        delay = self.rng.uniform(5.0, 15.0)
        self.schedule(delay, lambda: self._change_calendar(calendar))

    def _call_calendar(
        self,
        calendar: KnownCalendar,
        method: str,
        path: str,
        body: dict[str, Any],
        spans: tuple[Span, ...],
    ) -> CalendarCall:
        sent_at = time.time()
        status, _ = self.send(method, path, body)
        call = CalendarCall(calendar.name, sent_at, time.time(), status, spans)
        self.call_log.control.calendars.append(call)
        if call.is_uncertain and not calendar.is_uncertain:
            calendar.is_uncertain = True
            if calendar in self._calendars:
                self._create_calendar(calendar.use)
        return call

    def _change_calendar(self, calendar: KnownCalendar) -> None:
        if calendar.is_uncertain:
            return
        self._schedule_version(calendar)
        path = f"/calendars/{calendar.name}/"
        if calendar.use["use"] == "exclude" and self.rng.random() < 0.3:
            # Nothing is left; the tasks wait for the next version.
            today = datetime.now(UTC).date()
            since = datetime(*today.timetuple()[:3], tzinfo=UTC).timestamp() * 1000
            body = {"dates": [today.isoformat()]}
            spans: tuple[Span, ...] = ((since, since + DAY_MS),)
            self._call_calendar(calendar, "PUT", path, body, spans)
        else:
            spans = self._draw_spans()
            self._call_calendar(calendar, "PUT", path, _ranges(spans), spans)

    def _draw_spans(self) -> tuple[Span, ...]:
        at = int(time.time()) + self.rng.randrange(-2, 4)
        spans = []
        for _ in range(SPAN_COUNT):
            until = at + self.rng.randint(*COVERED)
            spans.append((at * 1000.0, until * 1000.0))
            at = until + self.rng.randint(*SPARED)
        return tuple(spans)

    def clean_up(self) -> None:
        for calendar in self._calendars:
            path, tries = f"/calendars/{calendar.name}/", 0
            while tries < MAX_TRIES:
                call = self._call_calendar(calendar, "PUT", path, {}, ())
                tries = MAX_TRIES if call.is_done else tries + 1
        super().clean_up()


def _ranges(spans: tuple[Span, ...]) -> dict[str, Any]:
    ranges = [
        {"from": format_time(int(since)), "to": format_time(int(until))}
        for since, until in spans
    ]
    return {"ranges": ranges}
