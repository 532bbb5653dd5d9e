"""The URLs of the pages of pull queues. A queue's name may hold anything, so it is no path."""

from __future__ import annotations

from console.queues import views
from console.routes import change, route

urlpatterns = [
    route("app/queues", views.queue_list, "console-queues"),
    route("app/queues/messages", views.queue_detail, "console-queue"),
    change("app/queues/requeue", views.requeue, "console-requeue"),
    change("app/queues/delete", views.delete_message, "console-delete-message"),
    change("app/queues/purge", views.purge, "console-purge-queue"),
]
