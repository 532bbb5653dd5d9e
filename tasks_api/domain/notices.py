"""The events that tenants are told of, and the messages that tell of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from tasks_api.domain.guard import host_of

# Notices that a message names one by one; it counts the others.
MAX_LISTED_NOTICES = 50
# The URL of a task that sends a message: the channel is looked up when the message is sent.
CHANNEL_SCHEME = "channel://"


class Event(StrEnum):
    """What a rule may ask for."""

    RUN_FAILED = "run.failed"
    RUN_LATE = "run.late"
    RUN_MISSED = "run.missed"
    # The target of long work did not report by its deadline.
    RUN_OVERDUE = "run.overdue"
    # So many runs in a row failed as the rule says.
    TASK_FAILING = "task.failing"
    TASK_RECOVERED = "task.recovered"
    # The service itself paused the task, or ended it.
    TASK_PAUSED = "task.paused"
    TASK_ENDED = "task.ended"


class ChannelKind(StrEnum):
    """What a message is sent to."""

    WEBHOOK = "webhook"
    # The notification URL of the tenant, which operators set.
    NOTIFICATION_URL = "notification_url"
    SLACK = "slack"
    DISCORD = "discord"
    TEAMS = "teams"
    PAGERDUTY = "pagerduty"
    NTFY = "ntfy"
    EMAIL = "email"


# The end of a sentence about a task.
SENTENCES = {
    Event.RUN_FAILED: "failed",
    Event.RUN_LATE: "was late",
    Event.RUN_MISSED: "missed a fire time",
    Event.RUN_OVERDUE: "did not report by its deadline",
    Event.TASK_FAILING: "keeps failing",
    Event.TASK_RECOVERED: "has recovered",
    Event.TASK_PAUSED: "was paused",
    Event.TASK_ENDED: "has ended",
}
# The events that are good news.
RELIEFS = frozenset({Event.TASK_RECOVERED})


@dataclass(frozen=True)
class Notice:
    """One event of a task. If `count` is more than one, it stands for others of its type.

    `timestamp` is the text that receivers get. Without `task_id` it stands for several
    tasks.
    """

    type: str
    timestamp: str
    task_id: str | None
    task_name: str
    reason: str
    run_id: str | None = None
    count: int = 1

    @property
    def sentence(self) -> str:
        """What happened, in one line, whatever names and reasons contain."""
        said = SENTENCES[Event(self.type)]
        if self.task_id is None:
            return f"{self.count} more times a task {said}"
        times = f" ({self.count} times)" if self.count > 1 else ""
        reason = f": {self.reason}" if self.reason else ""
        return _to_line(f"{self.task_name or self.task_id} {said}{times}{reason}")


def _to_line(text: str) -> str:
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())


@dataclass(frozen=True)
class Message:
    """What one message of a channel tells: notices in their order, the newest last.

    `count` counts all events, also those that `notices` does not name, and `held_back`
    those that waited because of the limit of the channel. A test has no notices.
    """

    tenant: str
    timestamp: str
    notices: tuple[Notice, ...] = ()
    count: int = 0
    held_back: int = 0
    limit: int = 0

    @property
    def is_test(self) -> bool:
        return not self.notices

    @property
    def is_relief(self) -> bool:
        """Whether the last word about every task is good news."""
        last = {notice.task_id: notice.type for notice in self.notices}
        return bool(last) and all(Event(each) in RELIEFS for each in last.values())

    @property
    def title(self) -> str:
        if self.is_test:
            return f"Test message of the scheduler for {self.tenant}"
        if self.count == 1:
            return self.notices[0].sentence
        tasks = {notice.task_id for notice in self.notices}
        if len(tasks) == 1 and None not in tasks:
            return f"{self.count} notices about {self._name_of_task()}"
        return f"{self.count} notices about tasks of {self.tenant}"

    def _name_of_task(self) -> str:
        return _to_line(self.notices[-1].task_name) or str(self.notices[-1].task_id)

    @property
    def lines(self) -> list[str]:
        """What stands below the title, a sentence a line."""
        if self.is_test:
            return ["This channel works. Nothing has happened."]
        lines = [f"{notice.timestamp} {notice.sentence}" for notice in self.notices]
        named = sum(notice.count for notice in self.notices)
        if self.count > named:
            lines.append(f"And {self.count - named} more.")
        if self.held_back:
            lines.append(
                f"{self.held_back} of these were held back, because this channel sends "
                f"at most {self.limit} messages an hour."
            )
        return lines

    def to_json(self) -> str:
        notices = [vars(notice) for notice in self.notices]
        return json.dumps({**vars(self), "notices": notices}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Message:
        stored = json.loads(text)
        notices = tuple(Notice(**each) for each in stored.pop("notices"))
        return replace(cls(**stored), notices=notices)


class ChannelSettings(NamedTuple):
    """Where a channel sends: the fields of its kind are set, the others are empty."""

    url: str = ""
    # The addresses of people who get mail.
    recipients: tuple[str, ...] = ()
    # Of PagerDuty.
    routing_key: str = ""
    # Of ntfy.
    topic: str = ""
    token: str = ""

    def to_json(self) -> str:
        return json.dumps(self._asdict(), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ChannelSettings:
        stored: dict[str, Any] = json.loads(text)
        return cls(**{**stored, "recipients": tuple(stored["recipients"])})

    @property
    def masked_url(self) -> str:
        """The URL without its path and credentials, which may be the secret."""
        scheme, _, _ = self.url.partition("://")
        return f"{scheme}://{host_of(self.url)}/…" if self.url else ""


# The settings that each kind needs, and those that it may have.
REQUIRED_SETTINGS: dict[ChannelKind, frozenset[str]] = {
    ChannelKind.WEBHOOK: frozenset({"url"}),
    ChannelKind.NOTIFICATION_URL: frozenset(),
    ChannelKind.SLACK: frozenset({"url"}),
    ChannelKind.DISCORD: frozenset({"url"}),
    ChannelKind.TEAMS: frozenset({"url"}),
    ChannelKind.PAGERDUTY: frozenset({"routing_key"}),
    ChannelKind.NTFY: frozenset({"topic"}),
    ChannelKind.EMAIL: frozenset({"recipients"}),
}
OPTIONAL_SETTINGS: dict[ChannelKind, frozenset[str]] = {
    ChannelKind.PAGERDUTY: frozenset({"url"}),
    ChannelKind.NTFY: frozenset({"url", "token"}),
}


def settings_of(kind: ChannelKind) -> frozenset[str]:
    """The settings that a channel of a kind may have."""
    return REQUIRED_SETTINGS[kind] | OPTIONAL_SETTINGS.get(kind, frozenset())
