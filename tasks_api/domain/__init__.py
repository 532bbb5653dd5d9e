"""Rules without a database: schedules, fire times, states, identifiers, and what a task
is.

Its code uses no framework, no socket, no settings and no clock. Callers pass the time.
"""
