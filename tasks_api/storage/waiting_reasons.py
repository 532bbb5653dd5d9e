"""How a run says why it waits, and afterwards why it waited.

The reason of a run that waits begins with WAITS, or with HELD if a calendar holds it.
When the run is taken, the reason begins with WAITED; it stays if the run
succeeds, because it says why the run is late.
"""

from __future__ import annotations

WAITS, WAITED = "Waits", "Waited"
HELD = "Held by calendar "

# The reason of a run that is taken, as `run`.
REASON_WHEN_TAKEN = f"""
    CASE WHEN run.reason LIKE '{WAITS}%%'
            THEN '{WAITED}' || substr(run.reason, {len(WAITS) + 1})
        WHEN run.reason LIKE '{HELD}%%' THEN '{WAITED}: h' || substr(run.reason, 2)
        WHEN run.reason LIKE '{WAITED}%%' THEN run.reason ELSE '' END
"""


def reason_after(old: str, new: str) -> str:
    """Return the SQL of a run's reason after a verdict; both are names of columns."""
    return f"""
        CASE WHEN {new} = '' AND {old} LIKE '{WAITED}%%' THEN {old} ELSE {new} END
    """
