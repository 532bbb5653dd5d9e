"""The verbs: what a client, an operator or a command may ask for, each in one
transaction.

Nothing here knows a request or a format; whatever is refused is a `SchedulerError`.
"""
