"""What the fields of channels and rules may be at most."""

from __future__ import annotations

import re

MAX_CHANNEL_NAME_LENGTH = 100
MAX_SECRET_LENGTH = 255
MAX_RECIPIENTS = 20
MAX_PER_HOUR = 1000
# As ntfy's own server wants it.
TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")

MAX_STREAK = 1000
# Seconds: a day, and a week.
MAX_DIGEST = 24 * 3600
MAX_LATE_AFTER = 7 * 24 * 3600
MAX_TAG_LENGTH = 100
