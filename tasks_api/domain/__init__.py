"""Rules without a database: schedules, fire times, states, identifiers, and what a task
is.

No framework, no socket, no settings and no clock; a function that needs the time is
given it.
"""
