"""The life of a run at a worker: claim, build, send, judge, record."""
