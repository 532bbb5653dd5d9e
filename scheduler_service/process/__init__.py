"""The runtime of each process: its logs, memory, children and time zones.

Nothing here knows what the process is for.
"""
