"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from llmbuilder_cli.flags import Flag, parameter, with_parameters
from llmbuilder_cli.helping import GENERATION, MACHINE
from llmbuilder_cli.progress import said
from llmbuilder_cli.settings import default_device, default_model, default_threads, read_user_file
from llmbuilder_cli.writing import WRITING

Model = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="Bundle directory, the checkpoint it was made from, or the folder that holds either.",
        show_default=False,
    ),
]
NamedModel = Annotated[Path | None, typer.Option("--model", "-m", help="The model, if not named above.")]
Tokenizer = Annotated[
    Path | None,
    typer.Option("--tokenizer", "-t", help="Tokenizer the bundle must have been exported with."),
]
Device = Annotated[
    str,
    typer.Option(
        default_factory=default_device,
        rich_help_panel=MACHINE,
        show_default="auto",
        envvar="LLMB_DEVICE",
        help="Where to run: auto (what the bundle was exported for), cpu, cuda, or cuda:N for card N.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        default_factory=default_threads,
        rich_help_panel=MACHINE,
        show_default="all this process may use",
        envvar="LLMB_THREADS",
        help="CPU threads.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other generation option, which `llmb config` lists; may be repeated.",
        rich_help_panel=GENERATION,
    ),
]


FLAGS = {
    "max_new_tokens": Flag("--max-tokens", int, "Most tokens to generate.", "100"),
    "temperature": Flag(
        "--temperature", float, "Below 1 sharpens the distribution; 0: the likeliest token.", "0.8"
    ),
    "top_k": Flag("--top-k", int, "Keep the k likeliest tokens; 0: all.", "50"),
    "top_p": Flag("--top-p", float, "Keep the likeliest tokens of this probability mass.", "0.9"),
    "min_p": Flag("--min-p", float, "Drop tokens below this share of the likeliest.", "none"),
    "repetition_penalty": Flag(
        "--repetition-penalty", float, "Above 1 makes used tokens less likely.", "1.0"
    ),
    "stop_strings": Flag("--stop", list[str], "End at this text; may be repeated.", "none", "TEXT"),
    "seed": Flag("--seed", int, "Same seed, same text.", "none"),
}
"""The options that have flags of their own. Their names are not read off the class, which help does not load."""
_Greedy = Annotated[
    bool,
    typer.Option(
        "--greedy", help="Take the likeliest token instead of sampling.", rich_help_panel=GENERATION
    ),
]


def named_once(argument: Path | None, option: Path | None = None) -> Path | None:
    """The model: a command takes it in two places, and the user's settings may have one."""
    if argument is not None and option is not None:
        raise typer.BadParameter(
            f"The model is named twice, as {argument} and as {option}. Leave one of them out.",
            param_hint="--model",
        )
    return argument or option or default_model()


def require_model(argument: Path | None, option: Path | None = None) -> Path:
    """The model, which a command cannot do without."""
    model = named_once(argument, option)
    if model is None:
        raise typer.BadParameter(
            "Name the model: the directory that llmb export wrote. Or set LLMB_MODEL.", param_hint="MODEL"
        )
    return model


def takes_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the `FLAGS`, ``--greedy`` and ``--set``, which wins; it gets them as ``options``.

    They lie over those of the user's file, unless a style has options in its place.
    """
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]
    shared = [
        *(parameter(name, _annotation(flag)) for name, flag in FLAGS.items()),
        parameter("greedy", _Greedy, default=False),
        parameter("set_", Assignments),
    ]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        flags = {name: arguments.pop(name) for name in FLAGS}
        has_style = any(arguments.get(name) for name in WRITING)
        options = {} if has_style else dict(read_user_file().generation)
        options |= {name: value for name, value in flags.items() if value is not None}
        if arguments.pop("greedy"):
            options["do_sample"] = False
        assigned = arguments.pop("set_")
        if options or assigned:
            with said("Reading the options"):
                options = _checked(options | parse_assignments(assigned))
        command(**arguments, options=options)

    return with_parameters(run, [*own, *shared])


def _annotation(flag: Flag) -> Any:
    return flag.annotation(GENERATION, f"the model's, else {flag.default}")


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, unless one is to be refused: by the words that were typed, before a model is loaded."""
    from llmbuilder.checks import nearest, shown
    from llmbuilder.config import generation_options, greedy_at_zero
    from llmbuilder.errors import ConfigError

    options, known = greedy_at_zero(options), generation_options()
    for name, value in options.items():
        if name not in known:
            advice = nearest(name, known) or "`llmb config` lists all there are."
            raise ConfigError(f"--set: there is no generation option {shown(name)}. {advice}")
        try:
            known[name].read(value)
        except ConfigError as error:
            words = FLAGS[name].words if name in FLAGS else f"--set: {name}"
            told = str(error).removeprefix(name).replace("set do_sample=False", "give 0 or --greedy")
            raise ConfigError(f"{words}{told}") from error
    return options


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """``["min_new_tokens=5"]`` -> ``{"min_new_tokens": 5}``."""
    return dict(_parse(assignment) for assignment in assignments or ())


def _parse(assignment: str) -> tuple[str, Any]:
    from llmbuilder.sessions.values import parse_value

    name, separator, value = assignment.partition("=")
    if not separator:
        raise typer.BadParameter(
            f"{assignment!r} is not of the form NAME=VALUE. Write it like seed=1.", param_hint="--set"
        )
    return name, parse_value(value)
