"""The door in front of several cells: HAProxy, with maps that follow the directory.

The door has its own copy of what it needs, so it goes on while the directory is away.
"""
