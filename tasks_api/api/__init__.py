"""The HTTP interface: what all wire formats share lies here, and each format in a
folder of its own.

A view parses, calls one verb of `services`, and renders. No format imports another.
"""
