"""Messages to the workers.

A message is a hint: if it is lost, its runs start seconds later, and none is lost. So a
message must not be the only copy of anything.
"""
