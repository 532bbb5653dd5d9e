"""The tenant on rows that belong to a task, a run or a user of the tenant."""

from __future__ import annotations

from django.db import models

from accounts.models import Tenant


class CopiedTenant(models.Model):
    """The statement that inserts the row copies the tenant from the row's parent.

    So all rows of a tenant can be found by its id alone. There is no foreign key: the
    parent has one, and a check would cost each insert a look at the tenant.
    """

    tenant = models.ForeignKey(
        Tenant,
        models.DO_NOTHING,
        editable=False,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )

    class Meta:
        abstract = True
