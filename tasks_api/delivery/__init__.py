"""One HTTP request to one target: what is sent, whether it may be, how, and what the
answer means.

No table and no model; the transport alone opens sockets to targets.
"""
