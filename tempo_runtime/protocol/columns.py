"""Name the columns of an argument, and the categories behind their numbers."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

from tempo_runtime.errors import AuthoringError

_SHOWN = 3  # names in a text


class Columns:
    """The names of the columns of an array, a list or a DataFrame, for the people who fill them in.

    They are shown wherever an argument is described: in a server's page and OpenAPI document, and by
    `tempo-runtime inspect`. Calls stay as they are: no value is checked, converted or renamed by them.

    The columns of an array are its last axis. Write their names into the annotation, as in
    `rows: Annotated[np.ndarray, Columns([...])]`, or give them to `save`, which leaves the code as it is.

    Args:
        names: The name of each column, in order.
        categories: A column's name, or its number counted from 0 -> the names of its categories. A value
            in the column is the position of a name, as in the `category_map` of alibi's data sets.

    Attributes:
        names: The name of each column.
        categories: A column's name -> the names of its categories; without the columns of plain numbers.

    Raises:
        AuthoringError: If two columns, or two categories of a column, have the same name; if a name is
            not text; or if there is no column for some categories.

    Example:
        >>> from tempo_runtime import Columns
        >>> columns = Columns(["Age", "Workclass"], {"Workclass": ["Private", "State-gov"]})
        >>> columns.categories["Workclass"].index("State-gov")
        1
    """

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    def __init__(
        self,
        names: Iterable[str],
        categories: Mapping[Any, Iterable[str]] | None = None,
    ) -> None:
        self.names = _distinct(names, "Columns")
        self.categories = {
            self._name(column): _distinct(of_column, f"Columns: the categories of {column!r}")
            for column, of_column in (categories or {}).items()
        }

    def described(self) -> list[dict[str, Any]]:
        """Return them as JSON: in order, each with its name and, if it has some, its categories."""
        return [
            {"name": name, "categories": list(self.categories[name])}
            if name in self.categories
            else {"name": name}
            for name in self.names
        ]

    def _name(self, column: str | SupportsIndex) -> str:
        if isinstance(column, SupportsIndex):
            number = operator.index(column)
            if 0 <= number < len(self.names):
                return self.names[number]
        elif column in self.names:
            return str(column)
        raise AuthoringError(
            f"Columns: there are categories for {column!r}, which is not a column; the columns are "
            f"{shown(self.names)}"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Columns):
            return NotImplemented
        return (self.names, self.categories) == (other.names, other.categories)

    def __hash__(self) -> int:
        return hash(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        # The author's annotations are in pickles, which outlive the attributes of this version.
        return Columns, (list(self.names), {name: list(of) for name, of in self.categories.items()})

    def __repr__(self) -> str:
        return f"<Columns: {shown(self.names)}>"


def shown(names: tuple[str, ...]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _distinct(names: Iterable[str], place: str) -> tuple[str, ...]:
    given = () if isinstance(names, str) else tuple(names)
    if not given:
        raise AuthoringError(f"{place}: {names!r} is not a list of names; write ['Age', 'Sex']")
    for name, count in Counter(given).items():
        if not isinstance(name, str) or not name:
            raise AuthoringError(f"{place}: {name!r} is not a name; give a text that is not empty")
        if count > 1:
            raise AuthoringError(f"{place}: the name {name!r} occurs twice; give each its own")
    return tuple(map(str, given))
