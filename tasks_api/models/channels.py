"""Channels, the rules that send notices to them, and the notices that wait."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from encrypted_fields.fields import EncryptedTextField

from accounts.models import Tenant, User
from tasks_api.domain.ids import new_id
from tasks_api.domain.notices import ChannelSettings
from tasks_api.domain.quiet_hours import QuietHours, send_moment
from tasks_api.models.tasks import Task
from tasks_api.models.tenants import CopiedTenant


class Channel(models.Model):
    """A place where a tenant is told of events."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="channels", db_index=False
    )
    # The administrator who made it, to whom its messages belong.
    owner = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="channels", db_index=False
    )
    name = models.CharField(max_length=100)
    # A ChannelKind.
    kind = models.CharField(max_length=16)
    # ChannelSettings as JSON.
    sealed_settings = EncryptedTextField(editable=False)
    # The messages that are sent within an hour of the clock.
    max_per_hour = models.PositiveIntegerField()
    is_paused = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # The hour in which the last message was sent, and how many were sent in it.
    hour = models.DateTimeField(null=True, editable=False)
    sent_in_hour = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="channel_name_once_per_tenant"
            ),
            models.UniqueConstraint(
                fields=["tenant"],
                name="channel_of_notification_url_once",
                condition=Q(kind="notification_url"),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def settings(self) -> ChannelSettings:
        """Where it sends. Raises ValueError if SECRET_KEY does not decrypt it."""
        return ChannelSettings.from_json(self.sealed_settings)

    def messages_left(self, hour: datetime) -> int:
        """The messages that it may still send within an hour."""
        return self.max_per_hour - (self.sent_in_hour if self.hour == hour else 0)


class NotificationRuleQuerySet(models.QuerySet["NotificationRule"]):
    def active(self) -> Self:
        return self.filter(is_paused=False, channel__is_paused=False)


class NotificationRule(models.Model):
    """Which events of which tasks are told of in a channel, and when."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="notification_rules", db_index=False
    )
    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="rules", db_index=False
    )
    events = ArrayField(models.TextField())
    # All tasks of the tenant, unless a task or a tag is given. The statements that delete
    # tasks delete their rules, too.
    task = models.ForeignKey(
        Task,
        models.CASCADE,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    tag = models.CharField(max_length=100, default="", db_default="")
    # The failed runs in a row that make a task.failing.
    streak = models.PositiveIntegerField()
    # The seconds after its fire time from which a run is late.
    late_after = models.PositiveIntegerField()
    # The seconds in which notices are gathered into one message; 0: none.
    digest_seconds = models.PositiveIntegerField(default=0, db_default=0)
    quiet_from = models.TimeField(null=True)
    quiet_until = models.TimeField(null=True)
    quiet_zone = models.CharField(max_length=100, default="", db_default="")
    is_paused = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = NotificationRuleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="rule_has_whole_quiet_hours",
                condition=Q(quiet_from=None, quiet_until=None, quiet_zone="")
                | (
                    Q(quiet_from__isnull=False, quiet_until__isnull=False)
                    & ~Q(quiet_zone="")
                ),
            )
        ]
        indexes = [
            # Read by workers and beats, for the tenants whose runs they record.
            models.Index(fields=["tenant", "id"], name="rule_of_tenant"),
            # Read when a channel is deleted.
            models.Index(fields=["channel"], name="rule_of_channel"),
            # Read when a task is deleted.
            models.Index(
                fields=["task"], name="rule_of_task", condition=Q(task__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.events)} to {self.channel_id}"

    @property
    def quiet_hours(self) -> QuietHours | None:
        if self.quiet_from is None or self.quiet_until is None:
            return None
        return QuietHours(self.quiet_from, self.quiet_until, self.quiet_zone)

    def send_moment(self, now: datetime) -> datetime:
        return send_moment(now, self.digest_seconds, self.quiet_hours)


class PendingNotice(models.Model):
    """An event that is to be told of in a channel, until a message takes it.

    The statements that write and delete these rows keep their references valid: a
    constraint would let the worker that writes one wait for whoever sends the others.
    """

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    rule = models.ForeignKey(
        NotificationRule,
        models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    type = models.CharField(max_length=20)
    at = models.DateTimeField()
    send_at = models.DateTimeField()
    # Null if it stands for many tasks that had the same event at once.
    task = models.ForeignKey(
        Task,
        models.CASCADE,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    task_name = models.CharField(max_length=255)
    run_id = models.UUIDField(null=True)
    reason = models.TextField()
    count = models.PositiveIntegerField()
    # It has waited because the channel had sent its messages of an hour.
    is_held = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [
            # Read by the beat: the channels that have something to send.
            models.Index(fields=["send_at", "channel"], name="notice_is_due"),
            # Read when a message takes the notices of its channel.
            models.Index(fields=["channel", "send_at"], name="notice_of_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.type} for {self.channel_id}"


class FailingTask(CopiedTenant):
    """A task whose last run failed, for rules about streaks and recoveries.

    A task that no such rule is about has no row here. The statements that delete tasks
    delete these rows, too.
    """

    task = models.OneToOneField(
        Task, models.CASCADE, primary_key=True, related_name="+", db_constraint=False
    )
    # The failed runs in a row.
    streak = models.PositiveIntegerField()
    # The streak that the last run ended by its success; 0 if it failed.
    ended_streak = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.task_id} failed {self.streak} times"
