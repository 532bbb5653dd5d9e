"""Prunes history as a worker does, but at a given moment.

    python -m tests.benchmarks.pruner 2026-11-01T00:00:00+00:00 [--at-leisure | --days]

It goes on until nothing is left, and prints how many rows of each kind it deleted. With
`--days` it drops the days that are over and nothing else, and prints the seconds, too.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import datetime

import tests.benchmarks.django_setup  # noqa: F401 (the import below needs it)
from tasks_api.storage import retention, retention_days


def main(moment: str, *options: str) -> None:
    if "--days" in options:
        sys.stdout.write(json.dumps(drop_days(datetime.fromisoformat(moment))))
        return
    pause = time.sleep if "--at-leisure" in options else (lambda _: False)
    total: Counter[str] = Counter()
    while gone := +retention.prune(now=datetime.fromisoformat(moment), pause=pause):
        total += gone
    sys.stdout.write(json.dumps(total))


def drop_days(now: datetime) -> dict[str, float]:
    began = time.perf_counter()
    planned = retention_days.plan(now=now)
    runs = sum(count for _, count in retention_days.drop_days(planned, now=now))
    return {"runs": runs, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(*sys.argv[1:])
