"""The table: values of every kind, under their annotations, and what becomes of each.

A value arrives as it is, unless the row says what it becomes (what its annotation makes of it, on every
route) or with which words it is refused (on every route). The page docs/values.md is made of this table.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from tests.fidelity import frames, kinds


@dataclass(frozen=True)
class Row:
    """One value of the table.

    Attributes:
        hint: Its annotation, as `kinds.HINTS` names it.
        make: Makes the value; a new one each time, since some can be changed.
        shown: The value, as the page shows it.
        becomes: What the annotation makes of it, if that is another value.
        becomes_shown: That, as the page shows it.
        refused: Words with which it is refused; None where it arrives.
    """

    hint: str
    make: Callable[[], Any]
    shown: str = ""
    becomes: Callable[[], Any] | None = None
    becomes_shown: str = ""
    refused: str | None = None

    @property
    def expected(self) -> Any:
        """The value that arrives."""
        return (self.becomes or self.make)()


VALUES: dict[str, Row] = {}


def _add(hint: str, *expressions: str) -> None:
    """Adds rows whose values are Python expressions, as the page shows them."""
    for expression in expressions:
        _row(hint, expression)


def _becomes(hint: str, expression: str, expected: str) -> None:
    _row(hint, expression, becomes=_made(expected), becomes_shown=expected)


def _refused(hint: str, expression: str, words: str) -> None:
    _row(hint, expression, refused=words)


def _row(hint: str, expression: str, **rest: Any) -> None:
    name = f"{hint}: {expression}"
    assert name not in VALUES, name
    assert hint in kinds.HINTS, hint
    VALUES[name] = Row(hint, _made(expression), expression, **rest)


def _made(expression: str) -> Callable[[], Any]:
    code = compile(expression, f"<{expression}>", "eval")
    return lambda: eval(code, _NAMES)


_NAMES = {
    **{name: value for name, value in vars(kinds).items() if not name.startswith("_")},
    **{name: getattr(dt, name) for name in ("date", "datetime", "time", "timedelta")},
    "BERLIN": ZoneInfo("Europe/Berlin"),
    "INDIA": dt.timezone(dt.timedelta(hours=5, minutes=30)),
    "Lock": threading.Lock,
    "Path": pathlib.Path,
    "UUID": uuid.UUID,
}

# -- numbers, text and moments ---------------------------------------------------------------------

_add("bool", "True", "False")
_becomes("bool", "np.True_", "True")
_refused("bool", "2", "boolean")
_add("int", "0", "-1", "2**63 - 1", "2**63", "2**64", "-(2**70)")
_becomes("int", "np.int8(3)", "3")
_becomes("int", "3.0", "3")
_becomes("int", "'12'", "12")
_refused("int", "1.5", "integer")
_add("float", "0.1", "-0.0", "float('nan')", "float('inf')", "5e-324")
_becomes("float", "5", "5.0")
_becomes("float", "np.float32(0.5)", "0.5")
_add("str", "'käse'", "''", "'a\\x00b'", "'None'", "'5'", "'\\u2028'")
_refused("str", "'\\ud800'", "UTF-8")
_refused("str", "5", "string")
_refused("str", "None", "string")
_add("bytes", "b'\\xff\\x00'", "b''", "b'text'")
_becomes("bytes", "bytearray(b'a')", "b'a'")
_add(
    "datetime",
    "datetime(2020, 2, 29, 12, 30, 1, 5)",
    "datetime(2020, 1, 1, tzinfo=dt.timezone.utc)",
    "datetime(2020, 1, 1, tzinfo=INDIA)",
    "datetime(2020, 7, 1, 12, tzinfo=BERLIN)",
    "datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)",
    "datetime(1, 1, 1)",
    "datetime(9999, 12, 31, 23, 59, 59, 999999)",
)
_add("date", "date(2020, 2, 29)")
_add("time", "time(12, 30, 1, 5)", "time(1, tzinfo=INDIA)")
_add("timedelta", "timedelta(days=-1, microseconds=3)", "timedelta(days=99999)")
_add("Decimal", "Decimal('0.10')", "Decimal('1E+30')", "Decimal('-0')")
_add("Fraction", "Fraction(1, 3)")
_add("UUID", "UUID(int=5)")
_add("Path", "Path('a/../b')", "Path('/tmp')")
_add("complex", "1 + 2j", "complex(0, -0.0)", "complex('nan')")

# -- containers with types -------------------------------------------------------------------------

_add("list[str]", "['02134', 'Nan', 'Inf', 'True', '']", "[]", "['a']")
_becomes("list[str]", "('a', 'b')", "['a', 'b']")
_refused("list[str]", "['a', 1]", "string")
_add("list[int]", "[1, 2]", "[]", "[2**65]")
_becomes("list[int]", "np.arange(3)", "[0, 1, 2]")
_becomes("list[int]", "[True]", "[1]")
_add("list[float]", "[0.5, float('nan'), float('-inf')]")
_becomes("list[float]", "[1, 2]", "[1.0, 2.0]")
_add("list[bytes]", "[b'\\xff', b'']", "[]")
_add("list[datetime]", "[datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=BERLIN)]", "[]")
_add("list[list[int]]", "[[1], [], [2, 3]]")
_add("tuple[int, str]", "(1, 'a')")
_becomes("tuple[int, str]", "[1, 'a']", "(1, 'a')")
_refused("tuple[int, str]", "(1,)", "required")
_add("tuple[int, ...]", "()", "(1, 2, 3)")
_add("set[int]", "{1, 2}", "set()")
_add("frozenset[str]", "frozenset({'a'})")
_add("deque[int]", "deque([1, 2])", "deque([1, 2], maxlen=2)")
_add("dict[str, float]", "{'a': 0.5, 'b': float('nan')}", "{}")
_becomes("dict[str, float]", "{'a': 1}", "{'a': 1.0}")
_add("dict[int, str]", "{1: 'a', -2: 'b'}")
_add("dict[bool, int]", "{True: 1, False: 0}")
_add("dict[date, int]", "{date(2020, 1, 1): 1}")
_add("dict[tuple[int, int], str]", "{(1, 2): 'x'}", "{}")
_add("dict[str, tuple[int, int]]", "{'t': (25, 50)}")
_add("dict[str, set[int]]", "{'s': {1, 2}}")
_add("dict[str, bytes]", "{'a': b'text'}", "{'a': b'\\xff'}")
_add("dict[str, Any]", "{'a': [1, 'b', None, {'c': 0.5}]}", "{'a': (1, 2)}", "{'a': {1: 'b'}}")
_add("OrderedDict[str, int]", "OrderedDict(b=1, a=2)")

# -- unions, optional, literals --------------------------------------------------------------------

_add("int | None", "None", "5")
_add("str | None", "None", "'null'", "'None'", "''")
_add("ndarray | None", "None", "np.arange(2)")
_add("int | str", "5", "'5'", "'a'")
_add("int | float", "1", "1.0", "0.5")
_add("bool | int | str", "True", "1", "'true'", "'1'")
_add("date | str", "date(2020, 1, 1)", "'2020-01-01'", "'soon'")
_add("datetime | date", "date(2020, 1, 1)", "datetime(2020, 1, 1)")
_add("Decimal | float", "Decimal('0.1')", "0.1")
_add("list[int] | dict[str, int]", "[1]", "{'a': 1}")
_add("list[int] | str", "[1]", "'[1]'")
_add("Literal", "'a'", "1", "None", "True")
_refused("Literal", "'b'", "'a'")
_add("Annotated", "3")
_refused("Annotated", "11", "less than or equal to 10")

# -- classes ---------------------------------------------------------------------------------------

_add("Colour", "Colour.RED", "Colour.GREEN", "Colour.BLUE")
_add("Level", "Level.HIGH")
_add("Unit", "Unit.METRE")
_add("Access", "Access.READ | Access.WRITE")
_add("list[Colour]", "[Colour.RED, Colour.BLUE]")
_add("dict[Colour, int]", "{Colour.RED: 1}")
_add("Point", "Point(0.5, 'a')", "Point(float('inf'))")
_becomes("Point", "(1, 'a')", "Point(1.0, 'a')")
_add("list[Point]", "[Point(0.5), Point(1.0, 'b')]")
_add("Movie", "{'title': 'a'}", "{}", "{'title': 'a', 'year': 1999}")
_add("Size", "Size(1)", "Size(1, ('a', 'b'))")
_becomes("Size", "{'width': 1}", "Size(1)")
_add("Frozen", "Frozen(1, Size(2))")
_add("Checked", "Checked(1)", "Checked(2, date(2020, 1, 1))")
_add("Item", "Item(name='a')", "Item(name='a', price=Decimal('1.50'))")
_becomes("Item", "{'name': 'a'}", "Item(name='a')")
_refused("Item", "Special(name='a')", "Special")
_refused("Item", "{'name': 5}", "string")
_add(
    "Order",
    "Order(items=[])",
    "Order(items=[Item(name='a')], at=datetime(2020, 1, 1, tzinfo=INDIA))",
    "Order(items=[], at=datetime(2020, 7, 1, tzinfo=BERLIN))",
    "Order(items=[], extra={'a': (1, 2), 'b': {3: 'c'}}, point=Point(1.0))",
)
_refused("Order", "Order(items=[Special(name='a')])", "Special")
_refused("Order", "Order(items=[], extra={'lock': Lock()})", "lock")
_add("list[Item]", "[Item(name='a'), Item(name='b')]")
_add("dict[str, Item]", "{'a': Item(name='a')}")
_add("Item | Size", "Item(name='a')", "Size(1)")
_add("Item | None", "None", "Item(name='a')")
_add("Renamed", "Renamed(givenName=1)")
_add("Open", "Open(name='a', more=[1, 2])", "Open(pair=(1, 2))")
_add("Computed", "Computed(width=2)")
_refused("Secret", "Secret(token='abc')", "token")
_add("Hidden", "Hidden(shown=1)")
_refused("Hidden", "Hidden(hidden=1)", "hidden")
_add("Private", "Private(shown=1)")
_refused("Doubling", "Doubling(width=1)", "width")
_add("Rows", "Rows(rows=[1, 2])", "Rows(rows=(1, 2))", "Rows(rows=np.arange(3))")

# -- what JSON lacks, in containers without types --------------------------------------------------

_add("list", "[]", "[1, 'a', None, 0.5, True]", "[[1], {'a': 1}]", "[(1, 2), [1, 2]]")
_add("tuple", "(1, 'a')", "()", "((1, 2), [3])")
_add("set", "{1, 'a'}", "{(1, 2)}")
_add(
    "dict",
    "{}",
    "{'a': 1, 'b': [1, {'c': None}]}",
    "{1: 'a'}",
    "{1: 'a', '1': 'b'}",
    "{'t': (25, 50)}",
    "{(1, 2): 'x'}",
    "{'s': {1, 2}}",
    "{'s': frozenset({1})}",
    "{True: 1}",
    "{None: 1}",
    "{0.5: 1}",
    "{'c': 1 + 2j}",
    "{'b': b'\\xff'}",
    "{'b': b'text'}",
    "{'a': bytearray(b'a')}",
    "{'d': datetime(2020, 1, 1, tzinfo=BERLIN)}",
    "{'d': date(2020, 1, 1), 't': time(1), 'l': timedelta(1)}",
    "{'n': Decimal('0.10'), 'f': Fraction(1, 3), 'u': UUID(int=5)}",
    "{'p': Path('a')}",
    "{'r': range(1, 9, 2)}",
    "{'i': 2**70, 'f': float('inf'), 'n': float('nan')}",
    "{'x': np.arange(3)}",
    "{'x': np.float32(0.5), 'y': np.int8(1), 'z': np.float64(0.5)}",
    "{'x': np.array(['a', 'bc'])}",
    "{'$tuple': [1, 2]}",
    "{'$': 1, '$dict': []}",
    "{'a': {'$set': [1]}}",
)
_refused("dict", "{'a': Lock()}", "lock")
_refused("dict", "{'a': object()}", "object")
_refused("dict", "{'a': Colour.RED}", "Colour")
_refused("dict", "{'a': Level.LOW}", "Level")
_refused("dict", "{'a': Unit.METRE}", "Unit")
_refused("dict", "{'a': Text('b')}", "Text")
_refused("dict", "{'a': Size(1)}", "Size")
_refused("dict", "{'a': Point(1.0)}", "Point")
_refused("dict", "{'a': Item(name='b')}", "Item")
_refused("dict", "{'a': lambda: 1}", "function")
_refused("dict", "{'a': pd.DataFrame({'b': [1]})}", "DataFrame")
_refused("dict", "{'a': pd.Series([1])}", "Series")
_refused("list", "[object()]", "object")

# -- values without an annotation ------------------------------------------------------------------

_add(
    "Any",
    "None",
    "True",
    "5",
    "2**70",
    "0.5",
    "float('nan')",
    "1 + 2j",
    "'a'",
    "b'a'",
    "[1, 2]",
    "['a', 'b']",
    "[b'a']",
    "[]",
    "(1, 2)",
    "()",
    "{1, 2}",
    "{1: 'a'}",
    "{'a': np.arange(3)}",
    "OrderedDict(b=1)",
    "deque([1])",
    "range(3)",
    "datetime(2020, 1, 1, tzinfo=BERLIN)",
    "[datetime(2020, 1, 1)]",
    "date(2020, 1, 1)",
    "time(1)",
    "timedelta(1)",
    "Decimal('0.10')",
    "UUID(int=1)",
    "Path('a')",
    "np.arange(3)",
    "np.float32(0.5)",
    "np.float64(0.5)",
    "np.int8(1)",
    "np.bool_(True)",
    "np.str_('a')",
    "np.array(5)",
    "pd.DataFrame({'a': [1, 2]})",
    "pd.DataFrame({'a': [1, 2]}, index=[5, 7])",
)
_refused("Any", "Colour.RED", "Colour")
_refused("Any", "Level.LOW", "Level")
_refused("Any", "Point(1.0)", "Point")
_refused("Any", "Item(name='a')", "Item")
_refused("Any", "Size(1)", "Size")
_refused("Any", "Text('a')", "Text")
_refused("Any", "object()", "object")
_refused("Any", "Lock()", "lock")
_refused("Any", "pd.Series([1])", "Series")

# -- arrays ----------------------------------------------------------------------------------------

_add(
    "ndarray",
    *(
        f"np.arange(6).reshape(2, 3).astype('{code}')"
        for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?")
    ),
    *(f"np.arange(3).astype('>{code}')" for code in ("i2", "i4", "i8", "u4", "f4", "f8")),
    "np.asfortranarray(np.arange(6.0).reshape(2, 3))",
    "np.arange(12).reshape(3, 4)[:, ::2]",
    "np.arange(3)[::-1]",
    "np.array(5)",
    "np.array(0.5, 'f4')",
    "np.zeros(0)",
    "np.zeros((0, 4), 'i2')",
    "np.zeros((2, 0, 3))",
    "np.ones((2, 1, 2, 1))",
    "np.array([np.nan, np.inf, -np.inf, -0.0])",
    "np.array([2**63 - 1, -(2**63)])",
    "np.array([2**64 - 1], 'u8')",
    "np.array(['a', 'bc', ''])",
    "np.array(['a'], '<U7')",
    "np.array([['käse']])",
    "np.array([b'a', b'\\xff'])",
    "np.array([], '<U3')",
    "np.array(['a', None], object)",
    "np.array(['a', 'b'], object)",
    "np.array([1, 'a', 0.5], object)",
)
_becomes("ndarray", "[1, 2]", "np.array([1, 2])")
_becomes("ndarray", "[[0.5], [1]]", "np.array([[0.5], [1.0]])")
_becomes("ndarray", "5", "np.array(5)")
_add(
    "ndarray",
    "np.array([1 + 2j])",
    "np.array(['2020-01-01', 'NaT'], 'M8[D]')",
    "np.array([1], 'm8[s]')",
)
_refused("ndarray", "np.array([1], np.longdouble)", "longdouble|float128|float96")
_add("ndarray", "np.array([(1, 0.5)], [('a', 'i4'), ('b', 'f8')])")
_refused("ndarray", "np.ma.array([1, 2], mask=[True, False])", "[Mm]asked")
_refused("ndarray", "np.array([object()], object)", "object")
_refused("ndarray", "[[1], [1, 2]]", "array")
_add("NDArray[float32]", "np.array([0.5, np.nan], 'f4')")
_becomes("NDArray[float32]", "np.array([0.5, 1.0])", "np.array([0.5, 1.0], 'f4')")
_becomes("NDArray[float32]", "[1, 2]", "np.array([1, 2], 'f4')")
_refused("NDArray[float32]", "np.array(['a'])", "float32")
_add("NDArray[int64]", "np.array([1, 2])")
_becomes("NDArray[int64]", "np.array([1], 'i1')", "np.array([1])")
_refused("NDArray[int64]", "np.array([0.5])", "int64")
_refused("NDArray[int64]", "np.array([2**63], 'u8')", "int64")
_add("NDArray[bool_]", "np.array([True, False])")
_add("NDArray[str_]", "np.array(['a', 'bc'])")
_add("NDArray[bytes_]", "np.array([b'a', b'\\xff'])")
_add("NDArray[object_]", "np.array(['a', 'bc'], object)")
_add("ndarray of (any, 2) float64", "np.zeros((3, 2))", "np.zeros((0, 2))")
_refused("ndarray of (any, 2) float64", "np.zeros((3, 3))", "shape")

# -- DataFrames ------------------------------------------------------------------------------------

for _name, _frame in frames.cases().items():
    VALUES[f"DataFrame: {_name}"] = Row("DataFrame", _frame.copy, _name)
_refused("DataFrame", "Table({'a': [1]})", "Table")
_refused("DataFrame", "pd.DataFrame({'a': [object()]})", "a.*object")
_refused("DataFrame", "pd.Series([1])", "Series")
_refused("DataFrame", "{'a': [1]}", "dict")
