"""``llmb serve``: models behind OpenAI's HTTP API."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmbuilder_cli.options import Device, Threads, require_model
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell

if TYPE_CHECKING:
    from llmbuilder_server.settings import Settings


def serve(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=]BUNDLE", help="Bundle directories; each is called NAME, or as it is."),
    ] = None,
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen at; 0: any that is free.", min=0, max=65535)
    ] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="LLMB_API_KEY",
            metavar="KEY",
            help="What clients must send; may be repeated, in the variable with spaces between.",
            show_envvar=True,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let other machines come without a key.")
    ] = False,
    host_name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Name of this server; may be repeated.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Origin whose pages may call this server; may be repeated."),
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Most sequences of a model decoded at once.")] = 32,
    max_waiting: Annotated[int, typer.Option(help="Most requests to a model that wait.")] = 256,
    prefix_cache: Annotated[
        int | None,
        typer.Option(metavar="BYTES", help="Of beginnings of prompts that are kept; 0: none.", min=0),
    ] = None,
    share_prefixes: Annotated[
        bool, typer.Option("--share-prefixes", help="Let different keys share beginnings of prompts.")
    ] = False,
    device: Device,
    threads: Threads,
) -> None:
    """Serve models to many clients at once, over OpenAI's HTTP API."""
    named = _named(bundles or [str(require_model(None))])
    with ExitStack() as stack:
        with said(f"Loading {', '.join(named)}"):
            serve_all, make_settings = _server()
            settings = make_settings(
                host=host,
                port=port,
                api_keys=tuple(api_key or ()),
                no_auth=no_auth,
                host_names=tuple(host_name or ()),
                cors=tuple(cors or ()),
                max_rows=max_rows,
                max_waiting=max_waiting,
                prefix_cache=prefix_cache,
                share_prefixes=share_prefixes,
            )
            from llmbuilder.inference import TextGenerator

            generators = {
                name: stack.enter_context(TextGenerator(path, device=device, threads=threads))
                for name, path in named.items()
            }
        serve_all(generators, settings, lambda line: tell(line, err=True))


def _server() -> tuple[Callable[..., None], type["Settings"]]:
    """What serves, and its settings; some packages of it may not be installed."""
    try:
        from llmbuilder_server.serving import serve as serve_all
        from llmbuilder_server.settings import Settings
    except ModuleNotFoundError as error:
        from llmbuilder.distribution import install_line

        raise ImportError(f"llmb serve needs {error.name}. Run: {install_line('serve')}") from error
    return serve_all, Settings


def _named(bundles: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for bundle in bundles:
        name, equals, path = bundle.partition("=")
        if not (equals and name) or Path(bundle).exists():
            name, path = Path(bundle).resolve().name, bundle
        if name in named:
            raise typer.BadParameter(f"Two models are called {name!r}. Name one: NAME={path}.")
        named[name] = Path(path)
    return named
