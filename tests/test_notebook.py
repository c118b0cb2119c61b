"""In Jupyter everything works as in a program, sessions too: seen in a real kernel, which is asked and answered."""

import contextlib
import json
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "notebook.ipynb"
BUNDLE = str(ROOT / "artifacts" / "storyteller" / "bundle")
WAIT = 120


class Cell:
    """What running a cell gave: ``ok`` or ``error``, the texts on both streams, what it asked for."""

    def __init__(self):
        self.status, self.out, self.err, self.asked = "", "", "", []


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """Run code in a kernel whose page answers what it asks for with ``lines``."""
    folder = tmp_path_factory.mktemp("kernel")
    kernel = KernelManager(transport="ipc", ip=str(folder / "socket"))
    kernel.start_kernel(cwd=str(PAGE.parent))
    client = kernel.client()
    client.start_channels()

    def run(code, *lines):
        cell, answers = Cell(), iter(lines)

        def show(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                name = content["name"].removeprefix("std")
                setattr(cell, name, getattr(cell, name) + content["text"])
            elif message["msg_type"] == "error":
                cell.err += f"{content['ename']}: {content['evalue']}"

        def answer(message):
            cell.asked.append(message["content"]["prompt"])
            client.input(next(answers))

        reply = client.execute_interactive(
            code, allow_stdin=bool(lines), stdin_hook=answer, output_hook=show, timeout=WAIT
        )
        cell.status = reply["content"]["status"]
        assert next(answers, None) is None, cell.err
        return cell

    with contextlib.ExitStack() as stack:
        stack.callback(kernel.shutdown_kernel, now=True)
        stack.callback(client.stop_channels)
        client.wait_for_ready(WAIT)
        yield run


def cells():
    page = json.loads(PAGE.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "code"]


def test_the_page_runs_from_its_beginning_to_its_end(kernel):
    for code in cells():
        lines = ["Once upon a time", "/quit"] if ".start()" in code else []
        cell = kernel(code, *lines)
        assert cell.status == "ok", cell.err
        assert cell.out or code == "generator.close()"


def test_the_page_is_stored_as_nobody_has_run_it():
    page = json.loads(PAGE.read_text(encoding="utf-8"))
    code = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


SESSIONS = {
    "chat": f"lb.ChatInterface({BUNDLE!r}, max_new_tokens=5, seed=1).start()",
    "prompts": f"lb.InteractiveGenerator({BUNDLE!r}, max_new_tokens=5, seed=1).start_session()",
    "function": f"lb.interactive_cli({BUNDLE!r}, max_new_tokens=5, seed=1)",
}


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_session_asks_in_the_page_until_somebody_leaves(kernel, session):
    cell = kernel(f"import llmbuilder as lb\n{session}", "The fox", "", "/help", "quit")
    assert cell.status == "ok", cell.err
    assert cell.asked == ["You: "] * 4
    assert cell.out.strip()
    assert "interrupting the kernel stops an answer, /quit leaves" in cell.err


def test_under_an_event_loop_of_the_cells_it_asks_too(kernel):
    code = f"import llmbuilder as lb, asyncio\nawait asyncio.sleep(0)\n{SESSIONS['prompts']}"
    assert kernel(code, "The fox", "/quit").asked == ["You: "] * 2


def test_a_page_that_nobody_can_answer_says_so(kernel):
    cell = kernel(f"import llmbuilder as lb\n{SESSIONS['prompts']}")
    assert cell.status == "error"
    assert "does not support input requests" in cell.err
