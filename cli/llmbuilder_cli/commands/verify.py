"""``llmb verify``: is this bundle intact, and does it keep its promises on this machine?"""

from pathlib import Path
from typing import Annotated

import typer

from llmbuilder_cli.options import Device, Threads
from llmbuilder_cli.report import tell


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory.")],
    *,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Check a bundle on this machine.

    Its files against their hashes, its tokenizer against the ids it had at export, and whether rows of a batch equal
    single runs bit for bit.
    """
    from llmbuilder.verify import verify_bundle

    report = verify_bundle(bundle, device=device, threads=threads)
    for check in report.checks:
        tell(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    if not report.passed:
        raise typer.Exit(1)
