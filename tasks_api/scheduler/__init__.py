"""One beat process: it rings workers, rescues runs of lost workers, and keeps house.

A beat takes no task and sends no request to a target.
"""
