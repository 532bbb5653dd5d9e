"""django-celery-beat's models with ids of 64 bits.

django-celery-beat 2.9 gives its tables ids of 32 bits, which 1,000 new tasks a second use
up in 25 days. The migration `0002_wide_ids` of tasks_api widens the columns. With models of
32 bits, Django would find no row with a larger id. Needed for as long as the library
declares an AutoField.
"""

from __future__ import annotations

from django_celery_beat.apps import BeatConfig


class WideIdsBeatConfig(BeatConfig):  # type: ignore[misc]  # the library has no types
    default_auto_field = "django.db.models.BigAutoField"
