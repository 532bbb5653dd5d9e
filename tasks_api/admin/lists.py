"""Lists of rows that only the service writes, and that there may be millions of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property

# Below it a table is counted, which is exact and takes milliseconds.
LARGE_TABLE = 50_000
# A list that reads for longer is given up, so that nobody's search slows the service.
LONGEST_STATEMENT = "2s"
TOO_MUCH = (
    "This list would read too many rows. Search for an id, for a name by its beginning, "
    "or for a tenant."
)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Counts no further than a person pages; counting a large table would read all of it."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        if not rows.query.where:
            estimate = _estimated_rows(rows.model)
            if estimate > LARGE_TABLE:
                return estimate
        # Bare rows: PostgreSQL would sort and annotate what it only has to count.
        return rows.order_by().values("pk")[:LARGE_TABLE].count()


def _estimated_rows(model: type[Model]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [connection.ops.quote_name(model._meta.db_table)],
        )
        [estimate] = cursor.fetchone()
    return int(estimate)


class BoundedList(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """A list whose page costs the same however many rows there are, or says that it does not."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        if request.method != "GET":
            return super().changelist_view(request, extra_context)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{LONGEST_STATEMENT}'")
                page = super().changelist_view(request, extra_context)
                # Its rows are read when it is rendered.
                return page.render() if hasattr(page, "render") else page
        except OperationalError as error:
            if "statement timeout" not in str(error) or not request.GET:
                raise
            messages.warning(request, TOO_MUCH)
            return HttpResponseRedirect(request.path)


class ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class HistoryAdmin(ReadOnly, BoundedList):
    """Rows by time, because ids are UUIDv7; any other order would sort the whole table."""

    ordering = ("-pk",)
    # A list without them has no box to search in.
    search_fields = ("pk",)
    ids: tuple[str, ...] = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            wanted = UUID(term)
        except ValueError:
            return self.search(queryset, term), False
        return _any_of(queryset, dict.fromkeys(self.ids, wanted)), False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that a text finds which is no id; each way of it by an index."""
        return queryset.none()


def _any_of(queryset: QuerySet[Any], columns: Mapping[str, object]) -> QuerySet[Any]:
    found = queryset.none()
    for column, value in columns.items():
        found = found | queryset.filter(**{column: value})
    return found
