"""Number the rows of a database from a range of its own, so that tenants may move there.

Rows keep their ids when their tenant moves. Databases that number their rows alike would
have rows of one id, so each takes its ids from a range of 2**40.
"""

from __future__ import annotations

from django.db import connection, transaction

from tasks_api.moving import part_statements as statements
from tasks_api.moving.parts import PLAN, TENANT, tables_of_tenants

# The highest range of which all ids are numbers of 64 bits.
MAX_RANGE = 2 ** (63 - statements.RANGE_BITS) - 1


@transaction.atomic
def number_rows(cell: int) -> int:
    """Let the ids of new rows begin at `cell` << 40; returns the number of sequences.

    A sequence that is further already is left alone.
    """
    if not 0 <= cell <= MAX_RANGE:
        raise ValueError(f"The number must be from 0 to {MAX_RANGE}.")
    first = max(1, cell << statements.RANGE_BITS)
    with connection.cursor() as cursor:
        cursor.execute(
            statements.LIST_SEQUENCES, [[*tables_of_tenants(), TENANT, PLAN]]
        )
        sequences = [sequence for _, sequence in cursor.fetchall()]
        for sequence in sequences:
            start = statements.START_RANGE.replace("{sequence}", sequence)
            cursor.execute(start, {"first": first})
    return len(sequences)
