"""One module a command, named as `manage.py` calls it.

A command reads arguments and prints; what it does lives in `accounts.services`.
"""
