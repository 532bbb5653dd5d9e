"""What clients, operators and commands may ask for: one function each, in one transaction.

Nothing here knows a request or a wire format; every refusal is a `SchedulerError`. A
function that takes a locked task leaves the transaction to its caller, who looks at the
task first. Callers ring for new runs after the commit.
"""
