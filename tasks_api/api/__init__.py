"""The HTTP API: shared code, and a folder for each wire format.

A view parses, calls one verb of `services`, and renders. No format imports another.
"""
