#!/usr/bin/env python
"""Django's command line for this project."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError

from scheduler_service.db.primaries import UnusableSession
from scheduler_service.local.state_files import LocalSetupError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, LocalSetupError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except OperationalError as error:
        if not isinstance(error.__cause__, UnusableSession):
            raise
        sys.exit(f"The database cannot be used: {error}")
