"""The pages that pause, resume or change all tasks of a filter, after a plan.

A form is another way to write the body of `POST /tasks/pause/`, `/tasks/resume/` or
`/tasks/change/`, and the readers of the API read it. A plan is the dry run of that
request, and its hash goes with the request itself.
"""
