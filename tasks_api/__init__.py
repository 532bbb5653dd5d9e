"""Tasks, the runs that they make, and the requests that are sent for them.

Beside the folders stand Celery's tasks and the settings of the Django app; nothing else.
"""
