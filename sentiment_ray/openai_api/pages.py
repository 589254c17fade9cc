"""Lists rows in pages: a total order, a cursor that outlives the row it names, and a true `has_more`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

Order = Literal["asc", "desc"]
Columns = Sequence[InstrumentedAttribute[Any]]


def list_page(
    session: Session,
    statement: Select[Any],
    order_by: Columns,
    make_object: Callable[[Any], dict[str, Any]],
    *,
    after: Any | None,
    limit: int,
    order: Order = "desc",
) -> dict[str, Any]:
    """Return the page of up to `limit` rows of a statement that come behind the row `after`, or the first one.

    The values of `order_by` together are different in each row, such as the time and the id.
    """
    columns = tuple_(*order_by)
    if after is not None:
        place = tuple_(*(getattr(after, column.key) for column in order_by))
        statement = statement.where(columns < place if order == "desc" else columns > place)
    directed = [column.desc() if order == "desc" else column.asc() for column in order_by]
    rows = session.scalars(statement.order_by(*directed).limit(limit + 1)).all()
    return make_page([make_object(row) for row in rows[:limit]], has_more=len(rows) > limit)


def make_page(objects: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return the answer that lists some objects."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": has_more}
