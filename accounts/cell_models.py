"""Which cell the rows of this database are of, and how far a split of it is."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class SplitStage(models.TextChoices):
    """How far the split of a cell is; each stage is committed before the next one begins."""

    # The tenants that go are frozen.
    FREEZING = "freezing"
    # Nothing of them is under way, so the standby that has this row may be promoted.
    READY = "ready"
    # The promoted standby may be open already: it alone can say.
    OPENING = "opening"
    # The tenants live in the new cell.
    OPEN = "open"


class OwnCell(models.Model):
    """The cell whose rows this database has. There is one row; none: nobody has said it.

    A standby has the row of its primary, so a promoted one is of the old cell until it is
    opened as a new one. Processes use no database of another cell.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    name = models.CharField(max_length=30)
    # The split that is under way; null: none is.
    split_id = models.UUIDField(null=True)
    # The name of the new cell, and the tenants that live there.
    splits_to = models.CharField(max_length=30, blank=True, default="", db_default="")
    tenants = ArrayField(models.BigIntegerField(), default=list, db_default=[])
    stage = models.CharField(
        max_length=10, choices=SplitStage, blank=True, default="", db_default=""
    )

    class Meta:
        constraints = [
            models.CheckConstraint(name="own_cell_is_one", condition=Q(id=1))
        ]

    def __str__(self) -> str:
        return self.name
