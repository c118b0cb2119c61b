"""``llmb verify``: is this bundle intact, and does it keep its promises on this machine?"""

import typer

from llmbuilder_cli.options import Device, Model, Threads, require_model
from llmbuilder_cli.progress import said
from llmbuilder_cli.report import tell


def verify(
    model: Model = None,
    *,
    device: Device,
    threads: Threads,
) -> None:
    """Check a bundle on this machine.

    Its files against their hashes, its tokenizer against the ids it had at export, and whether rows of a batch equal
    single runs bit for bit.
    """
    model = require_model(model)
    with said(f"Checking {model}"):
        from llmbuilder.verify import verify_bundle

        report = verify_bundle(model, device=device, threads=threads)
    for check in report.checks:
        tell(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    if not report.passed:
        raise typer.Exit(1)
