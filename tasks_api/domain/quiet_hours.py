"""Decide when a notice is sent: after it was gathered with others, and after quiet hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks_api.domain.cron import instant_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class QuietHours(NamedTuple):
    """A part of each day, by the clocks of a zone; it may pass midnight.

    It begins at `begins` and is over at `ends`, which differ.
    """

    begins: time
    ends: time
    zone: str

    def includes(self, moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(self.zone)).time()
        if self.begins < self.ends:
            return self.begins <= local < self.ends
        return local >= self.begins or local < self.ends

    def end_after(self, moment: datetime) -> datetime:
        """The moment itself, or the end of the quiet hours that include it.

        If clocks skip the end, the quiet hours are over when the clocks have jumped. If
        clocks are set back across the end, they are over each time.
        """
        if not self.includes(moment):
            return moment
        ends = self._ends_near(moment)
        return min(end for end in ends if end > moment and not self.includes(end))

    def _ends_near(self, moment: datetime) -> Iterator[datetime]:
        zone = ZoneInfo(self.zone)
        today = moment.astimezone(zone).date()
        # Two days ahead, because a zone may skip a whole day.
        for day in (today, today + DAY, today + 2 * DAY):
            naive = datetime.combine(day, self.ends)
            yield instant_of(naive, self.zone)
            yield naive.replace(tzinfo=zone, fold=1).astimezone(UTC)


def send_moment(
    now: datetime, digest_seconds: int, quiet: QuietHours | None
) -> datetime:
    """When a notice of `now` is sent.

    A digest gathers notices until the next multiple of its span, so that the notices of
    all processes meet in one message.
    """
    moment = now
    if digest_seconds:
        span = timedelta(seconds=digest_seconds)
        moment = EPOCH + -((EPOCH - now) // span) * span
    return quiet.end_after(moment) if quiet else moment
