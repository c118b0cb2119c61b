"""The page at ``/docs``: what the schema says, as plain HTML that loads nothing from anywhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>LLMBuilder: HTTP API</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 55rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
td {{ border-top: 1px solid #8884; padding: .2rem 1rem .2rem 0; vertical-align: top }}
</style>
<h1>HTTP API</h1>
<p>As OpenAI's; any client of that works with this address and <code>/v1</code>. Errors are
<code>{{"error": {{"message", "type", "param", "code"}}}}</code>.
The same for programs: <a href="/openapi.json">schema</a>.</p>
{addresses}
"""


def reference(schema: Mapping[str, Any]) -> str:
    """The page of an OpenAPI schema."""
    return _PAGE.format(addresses="\n".join(_addresses(schema)))


def _addresses(schema: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(told['summary'])}. {escape(told.get('description', ''))}</p>"
            if "requestBody" in told:
                yield _table(_fields(schema, told["requestBody"]["content"]["application/json"]["schema"]))
            yield _table({code: answer["description"] for code, answer in told["responses"].items()})


def _fields(schema: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, str]:
    body = _resolved(schema, named)
    needed = body.get("required", ())
    return {
        name: f"{_type(field)}{', required' if name in needed else ''}. {field.get('description', '')}"
        for name, field in body["properties"].items()
    }


def _resolved(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema["components"]["schemas"][named["$ref"].rpartition("/")[2]]
    return found


def _type(field: Mapping[str, Any]) -> str:
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    return " or ".join(dict.fromkeys(_name(kind) for kind in kinds))


def _name(kind: Mapping[str, Any]) -> str:
    if kind.get("type") == "array":
        return f"list of {_type(kind['items'])}"
    return str(kind.get("type", "object"))


def _table(rows: Mapping[str, str]) -> str:
    lines = (f"<tr><td><code>{escape(name)}</code><td>{escape(told)}</tr>" for name, told in rows.items())
    return f"<table>{''.join(lines)}</table>"
