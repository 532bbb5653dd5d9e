"""The SQL that reads and writes many tasks, schedules and runs at once.

The folder decides nothing that a tenant could notice: `services`, `scheduler` and
`worker` decide who may do what, and when.
"""
