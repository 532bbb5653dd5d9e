"""Rules without a database: schedules, fire times, states, ids and specs of tasks.

Its code uses no framework, no socket, no settings and no clock. Callers pass the time.
"""
