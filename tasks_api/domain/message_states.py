"""The states of a message of a pull queue, as people see them."""

from __future__ import annotations

from enum import StrEnum


class MessageState(StrEnum):
    # The next consumer gets it.
    READY = "ready"
    # Its `run_at` is still to come.
    LATER = "later"
    # A consumer has leased it.
    IN_FLIGHT = "in-flight"
    # Its lease ran out, and it has a retry left.
    RETURNING = "returning"
    # Its last lease ran out. The next fetch deletes it.
    EXHAUSTED = "exhausted"
