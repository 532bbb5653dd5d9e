"""Take what is due: make runs of due tasks, and take runs that wait, under a lease.

No thread, no request and no message belongs here: a caller says how much it has room for.
"""
