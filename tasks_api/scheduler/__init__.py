"""One beat process: it makes runs of what is due, and rescues those that wait for
nobody.

It sends no request to a target.
"""
