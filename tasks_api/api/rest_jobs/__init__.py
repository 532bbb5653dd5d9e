"""The wire format of REST jobs.

It adds words and chooses policies; it adds no behaviour.
"""
