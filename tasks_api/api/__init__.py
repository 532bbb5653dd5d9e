"""The HTTP API: shared code lies here, and each wire format has a folder.

A view parses, calls one verb of `services`, and renders. No format imports another.
"""
