"""Forget history as a worker does, but at a moment of one's choice: for the benchmarks.

    python -m tests.benchmarks.pruner 2026-11-01T00:00:00+00:00 [--at-leisure]

Works until nothing is left, and prints how much of each kind there was.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import datetime

import django

django.setup()

from tasks_api.storage import retention


def main(moment: str, *options: str) -> None:
    pause = time.sleep if "--at-leisure" in options else (lambda _: False)
    total: Counter[str] = Counter()
    while gone := +retention.prune(now=datetime.fromisoformat(moment), pause=pause):
        total += gone
    print(json.dumps(total))


if __name__ == "__main__":
    main(*sys.argv[1:])
