"""Tables with ids of 32 bits, as the first release made them."""

from __future__ import annotations

from django.db import connection

# The rows that tasks and periodic tasks draw, one of each or a shared one.
BEAT_TABLES = [
    "django_celery_beat_clockedschedule",
    "django_celery_beat_crontabschedule",
    "django_celery_beat_intervalschedule",
    "django_celery_beat_periodictask",
    "django_celery_beat_solarschedule",
]
FIRST_WIDE_ID = 2**31
# The columns that the migration 0002_wide_ids of tasks_api widens.
COLUMNS = [(table, "id") for table in BEAT_TABLES] + [
    ("django_celery_beat_periodictask", "clocked_id"),
    ("django_celery_beat_periodictask", "crontab_id"),
    ("django_celery_beat_periodictask", "interval_id"),
    ("django_celery_beat_periodictask", "solar_id"),
    ("tasks_api_schedulechange", "solar_id"),
    ("tasks_api_task", "periodic_task_id"),
    ("tasks_api_task", "solar_id"),
    ("tasks_api_task", "version"),
]
# Widened only where there is no task yet.
SHARED = [
    ("django_celery_beat_crontabschedule", "id"),
    ("django_celery_beat_intervalschedule", "id"),
]


def find_wide_columns() -> list[tuple[str, str]]:
    """Return those of the columns that have 64 bits."""
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type = 'bigint'
        """)
        wide = set(cursor.fetchall())
    return [column for column in COLUMNS if column in wide]


def narrow_tables() -> None:
    """Give the columns 32 bits, as they had before the migration."""
    with connection.cursor() as cursor:
        for table in BEAT_TABLES:
            cursor.execute(f"ALTER SEQUENCE {table}_id_seq RESTART WITH 1000")
        for table, column in COLUMNS:
            cursor.execute(f"ALTER TABLE {table} ALTER {column} TYPE integer")


def draw_wide_ids() -> None:
    """Let the next row of each table have an id that does not fit into 32 bits."""
    with connection.cursor() as cursor:
        for table in BEAT_TABLES:
            cursor.execute("SELECT setval(%s, %s)", [f"{table}_id_seq", 2**31 - 1])
