"""Every index costs something with each row, so each is named with its reader in docs/reference/storage.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "storage.md"
PAID_FOR = """
    SELECT indexname FROM pg_indexes
    WHERE (tablename LIKE 'tasks\\_api\\_%'
            OR tablename = 'django_celery_beat_periodictask')
        -- A partition has the indexes of its table.
        AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexname::regclass)
"""


def listed() -> set[str]:
    _, _, part = PAGE.read_text(encoding="utf-8").partition("\n## The indexes\n")
    return set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))


@pytest.mark.django_db
def test_every_index_is_listed_with_who_reads_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute(PAID_FOR)
        stored = {name for (name,) in cursor.fetchall()}

    assert listed() == stored
