"""Messages to the workers.

They are hints: a lost message costs seconds and never a run, so nothing here may be
the only place where something stands.
"""
