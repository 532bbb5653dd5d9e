"""Seal the headers of all tasks with the current key, when SECRET_KEY rotates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from tasks_api import store

BATCH = 1000


class Command(BaseCommand):
    help = "Seal the headers of all tasks with SECRET_KEY, which replaces a former key."

    def handle(self, *args: Any, **options: Any) -> str:
        after, changed, lost = UUID(int=0), 0, 0
        while batch := store.reseal(after=after, limit=BATCH):
            after = batch.last
            changed += batch.changed
            lost += batch.lost
        if lost:
            raise CommandError(
                f"{changed} tasks sealed anew; of {lost} no known key opens the headers."
            )
        return f"{changed} tasks sealed anew."
