"""The URLs of the pages of lanes."""

from __future__ import annotations

from console.lanes import changes, views
from console.routes import route

LANE = r"app/lanes/(?P<lane>[A-Za-z0-9._-]{1,100})"

# A change is its own transaction: it gives many tasks their lanes in batches.
urlpatterns = [
    route("app/lanes", views.lane_list, "console-lanes"),
    route("app/lanes/new", changes.new_lane, "console-new-lane"),
    route(LANE, views.lane_detail, "console-lane"),
    route(f"{LANE}/edit", changes.edit_lane, "console-edit-lane"),
    route(f"{LANE}/pause", changes.pause_lane, "console-pause-lane"),
    route(f"{LANE}/resume", changes.resume_lane, "console-resume-lane"),
    route(f"{LANE}/remove", changes.remove_lane, "console-remove-lane"),
]
