"""One HTTP request to one target: check the target, send the request, judge the answer.

No table and no model; the transport alone opens sockets to targets.
"""
