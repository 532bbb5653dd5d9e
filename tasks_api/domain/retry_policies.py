"""Read the retry policy of a task, as the task's row stores it."""

from __future__ import annotations

import json
from functools import lru_cache

from tasks_api.domain.specs import Backoff, RetryPolicy


@lru_cache(maxsize=1000)
def parse_policy(text: str) -> RetryPolicy | Backoff:
    stored = json.loads(text)
    return Backoff(**stored) if "max_attempts" in stored else RetryPolicy(**stored)
