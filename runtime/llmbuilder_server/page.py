"""The page that a browser sees at ``/``."""

from collections.abc import Iterable
from html import escape

from llmbuilder_server.settings import Settings

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>LLMBuilder</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 3rem auto; padding: 0 1rem }}
pre {{ background: #8882; padding: 1rem; overflow: auto }}</style>
<h1>LLMBuilder</h1>
<p>This server speaks OpenAI's HTTP API at <code>{address}/v1</code>.</p>
<ul>{models}</ul>
<pre>{example}</pre>
<p><a href="/docs">Documentation</a></p>
"""


def example(address: str, model: str, *, needs_key: bool) -> str:
    """A command that tries the server out."""
    key = ' -H "Authorization: Bearer $LLMB_API_KEY"' if needs_key else ""
    body = f'{{"model": "{model}", "prompt": "Once upon a time", "max_tokens": 40}}'
    return f"curl {address}/v1/completions{key} -H 'Content-Type: application/json' -d '{body}'"


def page(address: str, models: Iterable[str], settings: Settings) -> str:
    """The page; one for the server's own machine or for whoever has its key."""
    names = list(models)
    return _PAGE.format(
        address=escape(address),
        models="".join(f"<li>{escape(name)}</li>" for name in names),
        example=escape(example(address, names[0], needs_key=bool(settings.api_keys))),
    )
