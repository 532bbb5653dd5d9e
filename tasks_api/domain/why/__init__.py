"""Why a task fired, did not fire, or will not fire at a moment.

`explain` in `answers.py` is a pure function over `Facts`. To add a cause: give it a place
and words in `causes.py`; then add its reason to `reasons.py` if a run states it, a rule
to `RULES` in `rules.py` if it decides whether a moment fires, or one to `HOLDS` in
`holds.py` if it only makes a run late.
"""
