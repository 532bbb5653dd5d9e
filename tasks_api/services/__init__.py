"""The operations of clients, operators and commands: one function and transaction each.

No code here knows a request or a wire format. Every refusal is a `SchedulerError`. A
function that takes a locked task runs in the transaction of its caller. Callers must
ring for new runs after the commit.
"""
