"""One beat process: it turns due tasks into runs, and wakes runs that wait.

A beat sends no request to a target.
"""
