"""Write into docs/parameters.md what its examples print.

    python scripts/parameter_examples.py

Every Python block of the page is run, in order and in one namespace, from the repository's root; its output takes the
place of the text block after it.
"""

import contextlib
import io
import re
import textwrap
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parameters.md"
EXAMPLE = re.compile(r"^```python\n(?P<code>.*?)^```\n\n```text\n.*?^```\n", re.MULTILINE | re.DOTALL)
WIDTH = 100


def main() -> None:
    """Run all examples, then write the page."""
    namespace: dict[str, object] = {}

    def renewed(example: re.Match[str]) -> str:
        return f"```python\n{example['code']}```\n\n```text\n{printed(example['code'], namespace)}```\n"

    PAGE.write_text(EXAMPLE.sub(renewed, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def printed(code: str, namespace: dict[str, object]) -> str:
    """What a block prints, its long lines wrapped."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, PAGE.name, "exec"), namespace)  # noqa: S102 (our own page)
    lines = output.getvalue().splitlines()
    return "".join(f"{textwrap.fill(line, WIDTH, subsequent_indent='    ')}\n" for line in lines)


if __name__ == "__main__":
    main()
