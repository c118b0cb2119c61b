"""What the words after an option mean. Typer asks pydantic, which takes as long to load as all that help needs."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

Reader = Callable[[str], Any]


def read_plainly(parameters: list[Any], command: Callable[..., Any] | None) -> list[Any]:
    """Let each parameter of a command read its values by the annotations of the function ``command``."""
    annotated = inspect.signature(command).parameters if command else {}
    for parameter in parameters:
        known = annotated.get(parameter.name)
        reader = None if known is None else _reader(known.annotation)
        by_typer = type(parameter).process_value
        parameter.process_value = partial(_process, parameter, partial(by_typer, parameter), reader)
    return parameters


def _process(
    parameter: Any, by_typer: Callable[..., Any], reader: Reader | None, context: Any, value: Any
) -> Any:
    """The value of a parameter; one that is no text has been read before, or is a default.

    Raises:
        typer.BadParameter: in words for users; another usage error where a value is missing.
    """
    if isinstance(value, bool):
        return by_typer(context, value)
    if isinstance(value, str | list | tuple):
        if reader is None:
            return by_typer(context, value)
        value = reader(value) if isinstance(value, str) else [reader(word) for word in value]
    if parameter.required and value in (None, []):
        context.fail(f"Missing {_name(parameter)}: {parameter.help}")
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return " / ".join(parameter.opts)


def _reader(annotation: Any) -> Reader | None:
    """How a word becomes a value of an annotated type; None if that is not known here."""
    limits = None, None
    if get_origin(annotation) is Annotated:
        (option,) = annotation.__metadata__
        annotation, limits = annotation.__origin__, (option.min, option.max)
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    if get_origin(annotation) is Literal:
        return partial(_chosen, get_args(annotation))
    if annotation in (int, float):
        return partial(_number, annotation, limits)
    return annotation if annotation in (str, Path) else None


def _number(kind: type[int] | type[float], limits: tuple[float | None, float | None], word: str) -> float:
    try:
        number = kind(word)
    except ValueError:
        what, such_as = ("whole number", 8) if kind is int else ("number", 0.7)
        raise typer.BadParameter(f"{word!r:.60} is no {what}. Give one, such as {such_as}.") from None
    least, most = limits
    if least is not None and number < least:
        raise typer.BadParameter(f"{word} is too little. Give at least {least}.")
    if most is not None and number > most:
        raise typer.BadParameter(f"{word} is too much. Give at most {most}.")
    return number


def _chosen(choices: tuple[str, ...], word: str) -> str:
    if word not in choices:
        raise typer.BadParameter(f"There is no {word!r:.60}. Give {' or '.join(choices)}.")
    return word
