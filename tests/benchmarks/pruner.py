"""Prunes history as a worker does, but at a given moment.

    python -m tests.benchmarks.pruner 2026-11-01T00:00:00+00:00 [--at-leisure]

It goes on until nothing is left, and prints how many rows of each kind it deleted.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import datetime

import tests.benchmarks.django_setup  # noqa: F401 (the import below needs it)
from tasks_api.storage import retention


def main(moment: str, *options: str) -> None:
    pause = time.sleep if "--at-leisure" in options else (lambda _: False)
    total: Counter[str] = Counter()
    while gone := +retention.prune(now=datetime.fromisoformat(moment), pause=pause):
        total += gone
    sys.stdout.write(json.dumps(total))


if __name__ == "__main__":
    main(*sys.argv[1:])
