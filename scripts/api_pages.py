"""Write docs/api from the source: what the public modules offer, with signatures as they are written.

    python scripts/api_pages.py

Names are followed from where a module exports them to where they are defined, and read there; nothing is run but
`llmbuilder.config`, which knows the ranges of options.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from docstrings import code, first_sentence, markdown, table

from llmbuilder.config import generation_options

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "api"
SOURCES = (ROOT / "runtime", ROOT / "export")
MODULES = (
    "llmbuilder",
    "llmbuilder.inference",
    "llmbuilder.errors",
    "llmbuilder.benchmark",
    "llmbuilder_export",
    "llmbuilder_server",
)
"""The public ones: those that the guide imports from."""
ALIASES = {
    "StrPath": "llmbuilder.checks",
    "Device": "llmbuilder.generator",
    "Options": "llmbuilder.generator",
    "PromptLike": "llmbuilder.generator",
    "Answer": "llmbuilder.generator",
    "Quantization": "llmbuilder_export.pipeline",
    "Target": "llmbuilder_export.pipeline",
    "Progress": "llmbuilder_export.pipeline",
    "Advance": "llmbuilder_export.pipeline",
}
"""What signatures call types, and a module that knows the name."""
_WIDTH = 100
_HOOKS = {"after_fork"}
"""Methods that are public for other modules of ours alone."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Found(NamedTuple):
    """A definition, with the module in which it stands and the docstring below it, if it is no class or function."""

    node: ast.AST
    module: str
    below: str = ""

    @property
    def doc(self) -> str:
        """Its docstring, in Markdown."""
        own = ast.get_docstring(self.node) if isinstance(self.node, Function | ast.ClassDef) else self.below
        return markdown(own or "")


def pages() -> dict[str, str]:
    """Every page, in Markdown, by the name of its file."""
    written = {"README": _index()} | {module: _page(module) for module in MODULES}
    return {
        f"{name}.md": "\n\n".join(part for part in parts if part) + "\n" for name, parts in written.items()
    }


def _index() -> Iterator[str]:
    yield "# API reference"
    yield (
        "Written by `scripts/api_pages.py` from the docstrings. [The guide](../guide.md) shows how things are used,\n"
        "[parameters](../parameters.md) each option at work. What is not on these pages may change without notice."
    )
    yield "\n".join(f"- [`{name}`]({name}.md): {first_sentence(_module_doc(name))}" for name in MODULES)
    yield "## Types\n\nWhat signatures call by these names:"
    rows = []
    for name, module in ALIASES.items():
        found = find(module, name)
        assert isinstance(found.node, ast.Assign)  # noqa: S101 (an alias)
        rows.append((f"`{name}`", f"`{ast.unparse(found.node.value)}`", found.doc))
    yield table(("name", "type", "meaning"), rows)


def _page(module: str) -> Iterator[str]:
    yield f"# `{module}`"
    yield markdown(_module_doc(module))
    names = exported(module)
    if module == "llmbuilder":
        yield table(("name", "what it is"), [_row(name, find(module, name)) for name in names])
        return
    for name in names:
        yield from _section(name, find(module, name))


def _row(name: str, found: Found) -> tuple[str, str]:
    """A name at the top of the package, with the page that tells more."""
    if isinstance(found.node, ast.Module):
        return f"[`{name}`]({found.module}.md)", first_sentence(_module_doc(found.module))
    if not isinstance(found.node, Function | ast.ClassDef):
        return f"`{name}`", "The version, a text."
    page = "llmbuilder.errors" if found.module == "llmbuilder.errors" else "llmbuilder.inference"
    return f"[`{name}`]({page}.md#{name.lower()})", first_sentence(found.doc)


def exported(module: str) -> list[str]:
    """The public names of a module: ``__all__``, or every class that is an exception of ours."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    classes = [node for node in _tree(module).body if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if node.name[0].isupper()]


def find(module: str, name: str) -> Found:
    """What a name of a module stands for, wherever that is."""
    if _file(f"{module}.{name}") is not None:
        return Found(_tree(f"{module}.{name}"), f"{module}.{name}")
    nodes = list(ast.walk(_tree(module)))
    for node in reversed(nodes):  # what is overloaded is defined last
        if isinstance(node, Function | ast.ClassDef) and node.name == name:
            return Found(node, module)
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return find(node.module, name)
    for body in (getattr(node, "body", None) for node in nodes):
        for field, node, below in _assigned(body if isinstance(body, list) else []):
            if field == name:
                return Found(node, module, below)
    raise LookupError(f"{module} has no {name}")


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign, str]]:
    """Names that are given a value or a type, with the docstrings below them."""
    for node, after in zip_longest(body, body[1:]):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            below = after.value if isinstance(after, ast.Expr) else None
            doc = below.value if isinstance(below, ast.Constant) else None
            yield getattr(target, "id", ""), node, inspect.cleandoc(doc) if isinstance(doc, str) else ""


def _section(name: str, found: Found) -> Iterator[str]:
    yield f"## `{name}`"
    if isinstance(found.node, Function):
        yield _signature(name, found.node, found.module)
        yield found.doc
    elif isinstance(found.node, ast.ClassDef):
        yield from _class(found.node, found)


def _class(node: ast.ClassDef, found: Found) -> Iterator[str]:
    methods = _methods(node, found.module)
    init = methods.get("__init__")
    if init is not None and found.module != "llmbuilder.errors":  # nobody makes errors but ourselves
        yield _signature(node.name, init, found.module, of_class=True)
        yield found.doc
        yield Found(init, found.module).doc
    else:
        bases = ", ".join(map(ast.unparse, node.bases))
        yield code(f"class {node.name}({bases})" if bases else f"class {node.name}")
        yield found.doc
    yield _options() if node.name == "GenerationConfig" else _fields(node)
    for name, method in methods.items():
        if not name.startswith("_") and name not in _HOOKS:
            yield f"### `{node.name}.{name}`"
            yield _signature(name, method, found.module, of_class=True)
            yield Found(method, found.module).doc


def _methods(node: ast.ClassDef, module: str) -> dict[str, Function]:
    """The methods of a class, and of its bases that stand in the same module."""
    methods: dict[str, Function] = {}
    here = {other.name: other for other in _tree(module).body if isinstance(other, ast.ClassDef)}
    for base in node.bases:
        if (parent := here.get(ast.unparse(base))) is not None:
            methods |= _methods(parent, module)
    return methods | {child.name: child for child in node.body if isinstance(child, Function)}


def _options() -> str:
    rows = [
        (f"`{o.name}`", f"`{o.type}`", f"`{o.default!r}`", o.range, markdown(o.doc))
        for o in generation_options().values()
    ]
    return table(("option", "type", "default", "must be", "meaning"), rows)


def _fields(node: ast.ClassDef) -> str:
    rows = [
        (f"`{name}`", f"`{_type(field.annotation)}`", _made(field.value), markdown(doc))
        for name, field, doc in _assigned(node.body)
        if isinstance(field, ast.AnnAssign) and not name.startswith("_")
    ]
    return table(("field", "type", "default", "meaning"), rows) if rows else ""


def _made(value: ast.expr | None) -> str:
    """The default of a field, which may be made anew for each object."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        return f"`{ast.unparse(value.keywords[0].value)}()`"
    return "" if value is None else f"`{ast.unparse(value)}`"


def _signature(name: str, node: Function, module: str, *, of_class: bool = False) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    returns = "" if node.returns is None or node.name == "__init__" else f" -> {_type(node.returns)}"
    if "property" in decorators:
        return code(f"{name}{returns}  # a property")
    parameters = list(_parameters(node.args, module))[of_class and "staticmethod" not in decorators :]
    how = "".join(f"@{kind}\n" for kind in ("classmethod", "staticmethod") if kind in decorators)
    how += "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) > _WIDTH:
        line = f"{name}(\n" + "".join(f"    {each},\n" for each in parameters) + f"){returns}"
    return code(how + line)


def _parameters(arguments: ast.arguments, module: str) -> Iterator[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    lacking: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    for each, default in zip(plain, [*lacking, *arguments.defaults], strict=True):
        yield _parameter(each, default, module)
    if arguments.vararg is not None:
        yield f"*{_parameter(arguments.vararg, None, module)}"
    elif arguments.kwonlyargs:
        yield "*"
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(each, default, module)
    if arguments.kwarg is not None:
        yield f"**{_parameter(arguments.kwarg, None, module)}"


def _parameter(argument: ast.arg, default: ast.expr | None, module: str) -> str:
    written = argument.arg if argument.annotation is None else f"{argument.arg}: {_type(argument.annotation)}"
    if isinstance(default, ast.Name):  # a constant is told by its value
        constant = find(module, default.id).node
        default = constant.value if isinstance(constant, ast.Assign) else default
    return written if default is None else f"{written} = {ast.unparse(default)}"


def _type(annotation: ast.expr) -> str:
    """A type as it is written, also where that is in quotes."""
    is_text = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
    return str(annotation.value) if is_text else ast.unparse(annotation)  # type: ignore[attr-defined]


def _module_doc(module: str) -> str:
    return ast.get_docstring(_tree(module)) or ""


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    assert file is not None, module  # noqa: S101 (a module of ours)
    return ast.parse(file.read_text(encoding="utf-8"))


def _file(module: str) -> Path | None:
    inside = module.replace(".", "/")
    files = (root / name for root in SOURCES for name in (f"{inside}.py", f"{inside}/__init__.py"))
    return next((file for file in files if file.exists()), None)


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
