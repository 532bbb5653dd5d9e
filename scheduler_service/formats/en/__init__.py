"""English.

Only formats live here.
"""
