"""Read-only lists in the admin of rows that may be millions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Page, Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property

# A smaller table is counted, which is exact and takes milliseconds.
MAX_COUNTED_ROWS = 50_000
# A list that takes longer to read is cancelled, so that no search slows the service.
STATEMENT_TIMEOUT = "2s"
# A page shows so much of a body, which may have a million characters.
MAX_SHOWN_CHARACTERS = 16_384
TOO_MANY_ROWS = (
    "This list would read too many rows. Search for an id, for a name by its beginning, "
    "or for a tenant."
)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Counts and leads only as far as a person pages, and finds the rows of a page by ids.

    To count a large table would read all of it; so would the last page. PostgreSQL would
    compute every column of the rows before a page.
    """

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        if not rows.query.where:
            estimate = _estimated_rows(rows.model)
            if estimate > MAX_COUNTED_ROWS:
                return estimate
        # Bare rows: PostgreSQL would sort and annotate what it only has to count.
        return rows.order_by().values("pk")[:MAX_COUNTED_ROWS].count()

    @cached_property
    def num_pages(self) -> int:
        return min(super().num_pages, -(-MAX_COUNTED_ROWS // self.per_page))

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        first = (number - 1) * self.per_page
        ids = list(rows.values_list("pk", flat=True)[first : first + self.per_page])
        return Page(rows.filter(pk__in=ids), number, self)


def _estimated_rows(model: type[Model]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            # A partitioned table has the rows of its partitions.
            "SELECT sum(reltuples)::bigint FROM pg_class WHERE reltuples > 0 AND ("
            "oid = %(table)s::regclass OR oid IN ("
            "SELECT relid FROM pg_partition_tree(%(table)s) WHERE isleaf))",
            {"table": connection.ops.quote_name(model._meta.db_table)},
        )
        estimate = cursor.fetchone()[0] or 0
    return int(estimate)


class BoundedList(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """A list that reads a page in a bounded time, or asks for a narrower search."""

    paginator = BoundedPaginator
    list_per_page = 50
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
                cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
                page = super().changelist_view(request, extra_context)
                # Its rows are read when it is rendered.
                return page.render() if hasattr(page, "render") else page
        except OperationalError as error:
            if "statement timeout" not in str(error) or not request.GET:
                raise
            messages.warning(request, TOO_MANY_ROWS)
            return HttpResponseRedirect(request.path)


def shorten(text: str | None) -> str:
    """The beginning of a text that a page can show as a whole, and how long it is."""
    shown = (text or "")[:MAX_SHOWN_CHARACTERS]
    return (
        shown if shown == (text or "") else f"{shown}… ({len(text or ''):,} characters)"
    )


class ReadOnlyMixin:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class HistoryAdmin(ReadOnlyMixin, BoundedList):
    """Rows by time, because ids are UUIDv7; any other order would sort the whole table."""

    ordering = ("-pk",)
    # Without search_fields the page shows no search box.
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
        """The rows that a text other than an id finds; each condition must have an index."""
        return queryset.none()


def _any_of(queryset: QuerySet[Any], columns: Mapping[str, object]) -> QuerySet[Any]:
    found = queryset.none()
    for column, value in columns.items():
        found = found | queryset.filter(**{column: value})
    return found
