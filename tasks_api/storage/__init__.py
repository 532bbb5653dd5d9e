"""Rows in sets: the SQL that reads and writes many tasks, schedules and runs at once.

It decides nothing that a tenant could notice. Who may do what, and when, is for
`services`, `scheduler` and `worker`.
"""
