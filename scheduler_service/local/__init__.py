"""Servers that a developer's machine starts for itself: PostgreSQL, Redis, and a target
that prints.

No deployment with servers of its own uses any of it.
"""
