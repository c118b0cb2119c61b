"""Clients that need environments of their own: langchain-openai, simonw's llm, the npm package openai."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from listening import fake_generator, listening

from llmbuilder.inference import ChatInterface

HERE = Path(__file__).parent / "clients"
CACHE = HERE.parents[2] / ".cache" / "clients"
PACKAGES = ("langchain-openai==1.7.4", "llm==0.36", "openai==3.57.0")
NPM = "openai@6.49.0"
PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("llguidance")
    with listening() as address:
        yield address


@pytest.fixture(scope="module")
def reply():
    with ChatInterface(fake_generator()) as chat:
        return chat.respond(PROMPT, [], seed=1, max_new_tokens=16)


@pytest.fixture(scope="module")
def python():
    """The Python of an environment with the clients, which is made if it is not there."""
    folder = CACHE / "python"
    if not (folder / "bin" / "llm").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def program_for_node():
    """The program beside the package, which is installed if it is not there."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = CACHE / "node"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", NPM], cwd=folder, check=True)
    return shutil.copy(HERE / "client.mjs", folder)


def found_by(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.prove
def test_python_clients_get_what_the_library_gives(address, python, reply, tmp_path):
    found = found_by(python, HERE / "python_client.py", address, tmp_path)
    for client in found.values():
        assert client["reply"].strip() == client["stream"].strip() == reply
        assert list(client["schema"]) == ["ok"]
    assert {name for name, _ in found["langchain"]["tools"]} == {"look_up"}


@pytest.mark.prove
def test_the_package_for_node_gets_what_the_library_gives(address, program_for_node, reply):
    found = found_by("node", program_for_node, address)
    assert found["models"] == ["fake"]
    assert found["text"] == fake_generator().generate("Once", seed=1, max_new_tokens=16)
    assert found["reply"].strip() == found["stream"].strip() == reply
    assert found["usage"] > 0
    assert set(found["logprobs"]) == {2}
    assert list(found["schema"]) == ["ok"]
    assert {name for name, _ in found["tools"]} == {"look_up"}
    assert found["error"] == ["BadRequestError", 400]
