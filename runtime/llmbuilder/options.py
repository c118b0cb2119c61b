"""Options that are checked when made. Each stands once, at its field of a dataclass: type, range, default and doc.

A field's annotation says its range, as in ``top_p: Annotated[float, SHARE] | None = 0.9``; ``bool`` and ``Literal`` are
ranges by themselves; `llmbuilder.ranges` makes the others. The docstring below the field is read from the source.
"""

import functools
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from llmbuilder.checks import nearest, shown
from llmbuilder.errors import ConfigError
from llmbuilder.ranges import Range

if TYPE_CHECKING:
    import ast

_Kind = TypeVar("_Kind", bound=type)
_FEW = 10


@dataclass(frozen=True, slots=True)
class Option:
    """All there is to know of an option."""

    name: str
    type: str
    """As it is written in Python."""
    range: str
    default: Any
    _range: Range
    _kind: Any

    @property
    def doc(self) -> str:
        """What stands below its field; empty where Python cannot read the source."""
        return _docs(self._kind).get(self.name, "")

    def read(self, value: object, what: str = "") -> Any:
        """The value as it is kept.

        Raises:
            ConfigError: it is out of range; the message begins with ``what`` and the name.
        """
        kept = self._range.read(value)
        if not self._range.holds(kept):
            raise ConfigError(f"{what}{self.name} must be {self.range}, got {shown(kept)}.")
        return kept


def options_of(kind: type) -> Mapping[str, Option]:
    """The options of a dataclass, by name, in the order of its fields."""
    return _options_of(kind)


@functools.cache
def _options_of(kind: type) -> Mapping[str, Option]:
    annotations, types = get_type_hints(kind, include_extras=True), get_type_hints(kind)
    options = {}
    for field in fields(kind):
        if field.init:
            values = _range_of(annotations[field.name])
            options[field.name] = Option(
                name=field.name,
                type=_written(types[field.name]),
                range=values.text,
                default=field.default,
                _range=values,
                _kind=kind,
            )
    return options


def documented(kind: _Kind) -> _Kind:
    """Let ``help`` tell of a dataclass what its options are: in its docstring, its signature and at each of them.

    Its source is read when somebody asks.
    """
    options = options_of(kind).values()
    kind.__doc__ = _Docstring(kind)  # type: ignore[assignment]
    parameters = [
        inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default) for o in options
    ]
    signature = inspect.Signature(parameters)
    kind.__signature__ = kind.__init__.__signature__ = signature  # type: ignore[attr-defined, misc]
    kind.__slots__ = _SlotDocs(options_of(kind))  # type: ignore[attr-defined]
    return kind


class _Docstring:
    """The docstring of a class, put together for who asks for it."""

    def __init__(self, kind: type) -> None:
        self._kind, self._own = kind, inspect.cleandoc(kind.__doc__ or "")

    def __get__(self, instance: object, owner: type | None = None) -> str:
        told = "\n".join(map(_told, options_of(self._kind).values()))
        return f"{self._own}\n\nOptions:\n{textwrap.indent(told, '    ')}"


class _SlotDocs(dict[str, Any]):
    """What `inspect.getdoc` takes the docstrings of fields from."""

    def __getitem__(self, name: str) -> str:
        option: Option = super().__getitem__(name)
        return option.doc


def _told(option: Option) -> str:
    facts = f"{option.name}: {option.type} = {option.default!r}"
    more = f"{option.doc}\n\nMust be {option.range}."
    return f"{facts}\n{textwrap.indent(more, '    ')}\n"


def check_options(self: Any, what: str = "") -> None:
    """Check every option of a new dataclass, and keep what `Option.read` makes of it.

    Raises:
        ConfigError: a value is out of range.
    """
    for name, option in options_of(type(self)).items():
        object.__setattr__(self, name, option.read(getattr(self, name), what))


def refuse_unknown(
    kind: type, names: Iterable[object], what: str, elsewhere: Mapping[str, str] | None = None
) -> None:
    """Raise if a dataclass has no option of such a name.

    Raises:
        ConfigError: the message tells what it is called here if it stands in ``elsewhere``, or names the nearest there
            is.
    """
    known = options_of(kind)
    for name in names:
        if name not in known:
            every = (
                f"Known ones: {', '.join(known)}."
                if len(known) <= _FEW
                else f"help({kind.__name__}) lists all."
            )
            meant = (elsewhere or {}).get(str(name))
            advice = f"Did you mean {meant!r}?" if meant else nearest(str(name), known) or every
            raise ConfigError(f"Unknown {what} {shown(name)}. {advice}")


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _range_of(annotation: Any) -> Range:
    """The range that an annotation states: one that stands in it, or that of its choices."""
    parts = _parts(annotation)
    ranges: list[Range] = [part.__metadata__[0] for part in parts if get_origin(part) is Annotated]
    choices = [choice for part in parts for choice in _choices(part)]
    if choices:
        ranges.append(_one_of(choices))
    (values,) = ranges
    if NoneType not in parts:
        return values
    return values._replace(
        holds=lambda value: value is None or values.holds(value), text=f"{values.text}, or None"
    )


def _choices(part: Any) -> tuple[Any, ...]:
    if part is bool:
        return (True, False)
    return get_args(part) if get_origin(part) is Literal else ()


def _one_of(choices: Iterable[Any]) -> Range:
    choices = tuple(choices)

    def holds(value: object) -> bool:
        return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)

    *others, last = map(repr, choices)
    return Range(holds, f"{', '.join(others)} or {last}")


def _written(annotation: Any) -> str:
    """A type as it is written in a program."""
    names: list[str] = []
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            names += map(repr, get_args(part))
        else:
            is_class = isinstance(part, type) and get_origin(part) is None
            names.append("None" if part is NoneType else part.__name__ if is_class else repr(part))
    return " | ".join(names)


@functools.cache
def _docs(kind: type) -> Mapping[str, str]:
    """The docstrings below the fields; none where Python cannot read its source."""
    import ast

    try:
        (definition,) = ast.parse(inspect.getsource(kind)).body
    except OSError:
        return {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    docs = {}
    for field, doc in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(doc):
            docs[field.target.id] = inspect.cleandoc(ast.literal_eval(doc.value))  # type: ignore[attr-defined]
    return docs


def _is_text(statement: "ast.stmt") -> bool:
    import ast

    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
