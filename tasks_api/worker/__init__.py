"""One worker process: it takes what is due, sends the requests, and records the results.

`taking` decides what is due, and `delivery` how a request is made.
"""
