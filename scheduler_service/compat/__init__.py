"""Changes to libraries that we cannot do without, one library a file.

Each file says what it changes, why, and until which version. Nothing of our own
behaviour lives here.
"""
