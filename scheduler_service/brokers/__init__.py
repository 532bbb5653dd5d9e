"""Which broker carries Celery's messages, and how Celery connects to it."""
