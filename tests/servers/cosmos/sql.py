"""The query language as far as we rely on it: a small grammar and its evaluation. What it doesn't know it refuses.

Grammar and clauses: https://learn.microsoft.com/azure/cosmos-db/nosql/query/select and the pages beside it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_QUERY_BYTES = 512 * 1024
"""https://learn.microsoft.com/azure/cosmos-db/concepts-limits#sql-query-limits"""


class QueryError(Exception):
    """The query is refused: 400."""


class Undefined:
    """The value of a property that is not there: https://learn.microsoft.com/azure/cosmos-db/nosql/query/working-with-json."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()

AGGREGATES = frozenset({"COUNT", "MIN", "MAX", "SUM"})
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?)|(?P<parameter>@[A-Za-z_]\w*)
    |(?P<name>[A-Za-z_]\w*)|(?P<symbol><=|>=|!=|<>|[=<>().,*\[\]]))""",
    re.VERBOSE,
)
_SCALARS = frozenset({"boolean", "number", "string", "null"})
_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "/" + "/".join(self.names)


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator with its operands."""

    name: str
    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Among:
    """A value IN a list of literals, as (type, value) pairs."""

    operand: "Expression"
    members: frozenset[tuple[str, Any]]


Expression = Literal | Path | Call | Among


@dataclass(frozen=True, slots=True)
class Order:
    path: Path
    descending: bool


@dataclass(slots=True)
class Select:
    """A query. `columns` are (alias, expression); with `value` there is one, and `columns` is empty for `*`."""

    columns: list[tuple[str, Expression]] = field(default_factory=list)
    value: bool = False
    top: int | None = None
    where: Expression | None = None
    group_by: list[Path] = field(default_factory=list)
    order_by: list[Order] = field(default_factory=list)

    @property
    def aggregates(self) -> list[Call]:
        return [call for _, call in self.columns if isinstance(call, Call) and call.name in AGGREGATES]


def parse(text: str, parameters: Mapping[str, Any]) -> Select:
    """The query of a text. Raises QueryError where it has what this grammar has not."""
    if len(text.encode()) > MAX_QUERY_BYTES:
        raise QueryError("The SQL query text exceeded the maximum limit of 512 KB.")
    return _Parser(text, parameters).select()


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise QueryError(f"Syntax error near {text[position : position + 20]!r}.")
        position = match.end()
        yield match[0].strip()


class _Parser:
    def __init__(self, text: str, parameters: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(text))
        self._position = 0
        self._parameters = parameters

    def select(self) -> Select:
        query = Select()
        self._expect("SELECT")
        if self._accept("TOP"):
            query.top = self._top()
        if self._accept("VALUE"):
            query.value = True
            query.columns = [("", self._expression())]
        elif not self._accept("*"):
            query.columns = [self._column()]
            while self._accept(","):
                query.columns.append(self._column())
        self._expect("FROM")
        self._expect("c")
        self._clauses(query)
        if self._position < len(self._tokens):
            raise QueryError(f"Syntax error near {self._peek()!r}.")
        return query

    def _clauses(self, query: Select) -> None:
        if self._accept("WHERE"):
            query.where = self._expression()
        if self._accept("GROUP"):
            self._expect("BY")
            query.group_by = [self._path()]
            while self._accept(","):
                query.group_by.append(self._path())
        if self._accept("ORDER"):
            self._expect("BY")
            query.order_by = [self._order()]
            while self._accept(","):
                query.order_by.append(self._order())

    def _top(self) -> int:
        operand = self._primary()
        if not (isinstance(operand, Literal) and type(operand.value) is int and operand.value >= 0):
            raise QueryError("TOP takes a number.")
        return operand.value

    def _column(self) -> tuple[str, Expression]:
        expression = self._expression()
        if self._accept("AS"):
            return self._next(), expression
        if isinstance(expression, Path):
            return expression.names[-1], expression
        raise QueryError("A column that is no path needs a name.")

    def _order(self) -> Order:
        path = self._path()
        descending = self._accept("DESC")
        if not descending:
            self._accept("ASC")
        return Order(path, descending)

    def _path(self) -> Path:
        path = self._primary()
        if not isinstance(path, Path):
            raise QueryError("Only a property path can stand here.")
        return path

    def _expression(self) -> Expression:
        left = self._conjunction()
        while self._accept("OR"):
            left = Call("OR", (left, self._conjunction()))
        return left

    def _conjunction(self) -> Expression:
        left = self._negation()
        while self._accept("AND"):
            left = Call("AND", (left, self._negation()))
        return left

    def _negation(self) -> Expression:
        if self._accept("NOT"):
            return Call("NOT", (self._negation(),))
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._primary()
        if self._peek() in _COMPARISONS:
            return Call(self._next(), (left, self._primary()))
        if self._accept("IN"):
            return Among(left, frozenset(map(_member, self._arguments())))
        return left

    def _arguments(self) -> list[Expression]:
        self._expect("(")
        arguments = [self._expression()]
        while self._accept(","):
            arguments.append(self._expression())
        self._expect(")")
        return arguments

    def _primary(self) -> Expression:
        token = self._next()
        if token == "(":
            inner = self._expression()
            self._expect(")")
            return inner
        if token.startswith("@"):
            if token not in self._parameters:
                raise QueryError(f"Parameter {token} is not given.")
            return Literal(self._parameters[token])
        if token[0].isdigit():
            return Literal(float(token) if "." in token else int(token))
        if token in ("true", "false", "null"):
            return Literal({"true": True, "false": False, "null": None}[token])
        if token == "c" and self._peek() == ".":
            names = []
            while self._accept("."):
                names.append(self._next())
            return Path(tuple(names))
        if token.upper() in {*AGGREGATES, "IS_DEFINED"} and self._peek() == "(":
            return Call(token.upper(), tuple(self._arguments()))
        raise QueryError(f"Syntax error near {token[:20]!r}: not known here.")

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise QueryError("The query ends too early.")
        self._position += 1
        return token

    def _accept(self, word: str) -> bool:
        token = self._peek()
        if token == word or (word.isupper() and token.upper() == word):
            self._position += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise QueryError(f"Syntax error near {self._peek()!r}: {word} expected.")


def evaluate(expression: Expression, item: Any) -> Any:
    """The value of an expression over an item, UNDEFINED where it has none."""
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Path):
        value = item
        for name in expression.names:
            value = value.get(name, UNDEFINED) if isinstance(value, dict) else UNDEFINED
        return value
    if isinstance(expression, Among):
        return _among(expression, evaluate(expression.operand, item))
    return _call(expression, item)


def _among(expression: Among, value: Any) -> Any:
    """IN is OR over comparisons: undefined where none holds and one compares another type."""
    kind = type_name(value)
    if kind in _SCALARS and (kind, value) in expression.members:
        return True
    return False if {member for member, _ in expression.members} == {kind} else UNDEFINED


def _member(expression: Expression) -> tuple[str, Any]:
    if not isinstance(expression, Literal) or type_name(expression.value) not in _SCALARS:
        raise QueryError("IN takes literals here.")
    return type_name(expression.value), expression.value


def _call(call: Call, item: Any) -> Any:
    if call.name in ("AND", "OR"):
        return _logical(call, item)
    values = [evaluate(operand, item) for operand in call.operands]
    if call.name == "NOT":
        return not values[0] if isinstance(values[0], bool) else UNDEFINED
    if call.name == "IS_DEFINED":
        return values[0] is not UNDEFINED
    if call.name in _COMPARISONS:
        return _compare(call.name, values[0], values[1])
    raise QueryError(f"{call.name} can't stand here.")


def _logical(call: Call, item: Any) -> Any:
    """AND and OR with undefined as a third value.

    https://learn.microsoft.com/azure/cosmos-db/nosql/query/logical-operators
    """
    decisive = call.name == "OR"
    left = evaluate(call.operands[0], item)
    if left is decisive:
        return decisive
    right = evaluate(call.operands[1], item)
    if right is decisive:
        return decisive
    return (not decisive) if isinstance(left, bool) and isinstance(right, bool) else UNDEFINED


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if value is UNDEFINED:
        return "undefined"
    for kind, name in (
        (bool, "boolean"),
        (int, "number"),
        (float, "number"),
        (str, "string"),
        (dict, "object"),
        (list, "array"),
    ):
        if isinstance(value, kind):
            return name
    return "null"


def _compare(operator: str, left: Any, right: Any) -> Any:
    """Values of different types, and undefined, don't compare: the result is undefined. Objects and arrays are only equal.

    https://learn.microsoft.com/azure/cosmos-db/nosql/query/equality-comparison-operators
    """
    kind = type_name(left)
    if kind != type_name(right) or kind == "undefined":
        return UNDEFINED
    if operator == "=":
        return left == right
    if kind in ("object", "array"):
        return UNDEFINED
    if operator == "!=":
        return left != right
    if kind == "null":
        return UNDEFINED
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def aggregate(call: Call, items: list[Any]) -> Any:
    """The value of an aggregate; undefined arguments play no part, and a sum of other than numbers is undefined.

    https://learn.microsoft.com/cosmos-db/query/sum and the pages of COUNT, MIN and MAX beside it.
    """
    values = [value for item in items if (value := evaluate(call.operands[0], item)) is not UNDEFINED]
    if call.name == "COUNT":
        return len(values)
    if call.name == "SUM":
        return sum(values) if all(type_name(value) == "number" for value in values) else UNDEFINED
    if not values:
        return UNDEFINED
    if len({type_name(value) for value in values}) > 1:
        raise QueryError(f"{call.name} over values of several types is not known here.")
    return min(values) if call.name == "MIN" else max(values)
