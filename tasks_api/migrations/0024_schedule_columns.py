"""Keep the schedule of a task, and of its changes, in columns instead of one text."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q

# The former text: its parts, by the names of their columns, in order.
PARTS = (
    "is_paused",
    "is_one_off",
    "starts_at",
    "ends_at",
    "interval_every",
    "interval_period",
    "once_at",
    "cron_minute",
    "cron_hour",
    "cron_day_of_month",
    "cron_month_of_year",
    "cron_day_of_week",
    "cron_zone",
    "solar_id",
)
FIELDS: dict[str, models.Field] = {
    "is_paused": models.BooleanField(default=False, db_default=False, editable=False),
    "is_one_off": models.BooleanField(default=False, db_default=False, editable=False),
    "interval_every": models.IntegerField(null=True, editable=False),
    "solar_id": models.IntegerField(null=True, editable=False),
} | {
    name: models.DateTimeField(null=True, editable=False)
    for name in ("starts_at", "ends_at", "once_at")
}


def field(name: str) -> models.Field:
    text = models.TextField(default="", db_default="", editable=False)
    return FIELDS.get(name, text).clone()


def value(text: str, name: str) -> str:
    place = PARTS.index(name) + 1
    part = f"split_part({text}, '|', {place})"
    match FIELDS.get(name):
        case models.BooleanField():
            return f"{part} = '{'f' if name == 'is_paused' else 't'}'"
        case models.DateTimeField():
            return (
                "timestamptz 'epoch' + interval '1 microsecond'"
                f" * nullif({part}, '')::bigint"
            )
        case models.IntegerField():
            return f"nullif({part}, '')::int"
        case _:
            return part


def fill(model: str, text: str) -> migrations.RunSQL:
    values = ", ".join(f"{name} = {value(text, name)}" for name in PARTS)
    return migrations.RunSQL(
        f"UPDATE tasks_api_{model} SET {values}",  # noqa: S608 (names of columns)
        migrations.RunSQL.noop,
        elidable=True,
    )


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0023_seal_credentials_in_urls")]

    operations = [
        *(
            migrations.AddField("task", name, field(name))
            for name in PARTS
            if name != "ends_at"
        ),
        *(migrations.AddField("schedulechange", name, field(name)) for name in PARTS),
        fill("task", "planned_from"),
        fill("schedulechange", "plan"),
        # Rows that were changed in this transaction have checks that wait for its end.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.RemoveIndex("task", "task_paused"),
        migrations.AddIndex(
            "task",
            models.Index(
                fields=["owner", "surface", "id"],
                name="task_paused",
                condition=Q(ended_at=None, is_paused=True),
            ),
        ),
        migrations.AlterField(
            "schedulechange",
            "dst",
            models.CharField(blank=True, db_default="", default="", max_length=20),
        ),
        migrations.AlterField(
            "schedulechange",
            "spread_offset",
            models.PositiveIntegerField(db_default=0, default=0),
        ),
        # So that going back may add them again.
        migrations.AlterField("task", "planned_from", models.TextField(default="")),
        migrations.AlterField("schedulechange", "plan", models.TextField(default="")),
        migrations.RemoveField("task", "planned_from"),
        migrations.RemoveField("schedulechange", "plan"),
    ]
