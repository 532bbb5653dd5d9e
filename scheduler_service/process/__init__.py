"""How any process of ours runs: its logs, its memory, its children, its time zones.

Nothing here knows what the process is for.
"""
