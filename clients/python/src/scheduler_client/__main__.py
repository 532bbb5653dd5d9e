"""`python -m scheduler_client` is the command `scheduler`."""

from __future__ import annotations

import sys

from scheduler_client.cli import main

sys.exit(main())
