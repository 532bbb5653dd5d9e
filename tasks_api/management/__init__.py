"""Commands about tasks and their owners.

Commands that know no task live in `accounts` and `scheduler_service`.
"""
