"""What langchain-openai and simonw's llm make of a server; run in an environment of their own.

    python python_client.py ADDRESS FOLDER

writes what they got as a JSON object. FOLDER is for llm's files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from langchain_openai import ChatOpenAI

PROMPT = "Once upon a time"
SCHEMA = {
    "title": "answer",
    "description": "An answer.",
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "description": "Looks a word up.", "parameters": SCHEMA},
}
MODELS = """
- model_id: ours
  model_name: fake
  api_base: {address}/v1
  api_key_name: none
  supports_schema: true
"""


def langchain(address: str) -> dict[str, object]:
    options = {"base_url": f"{address}/v1", "api_key": "none", "model": "fake", "seed": 1, "max_retries": 0}
    chat = ChatOpenAI(**options, max_tokens=16)
    long = ChatOpenAI(**options, max_tokens=200)
    called = long.bind_tools([TOOL], tool_choice="required").invoke(PROMPT)
    return {
        "reply": chat.invoke(PROMPT).content,
        "stream": "".join(chunk.content for chunk in chat.stream(PROMPT)),
        "schema": long.with_structured_output(SCHEMA, method="json_schema").invoke(PROMPT),
        "tools": [[call["name"], list(call["args"])] for call in called.tool_calls],
    }


def llm(address: str, folder: Path) -> dict[str, object]:
    (folder / "extra-openai-models.yaml").write_text(MODELS.format(address=address))
    environment = os.environ | {"LLM_USER_PATH": str(folder)}

    def ask(*arguments: str) -> str:
        command = [
            str(Path(sys.executable).with_name("llm")),
            "-m",
            "ours",
            "--key",
            "none",
            "-o",
            "seed",
            "1",
        ]
        done = subprocess.run(
            [*command, *arguments, PROMPT], capture_output=True, check=True, env=environment
        )
        return done.stdout.decode(errors="replace")

    return {
        "reply": ask("--no-stream", "-o", "max_tokens", "16"),
        "stream": ask("-o", "max_tokens", "16"),
        "schema": json.loads(ask("--schema", json.dumps(SCHEMA), "-o", "max_tokens", "200")),
    }


if __name__ == "__main__":
    print(json.dumps({"langchain": langchain(sys.argv[1]), "llm": llm(sys.argv[1], Path(sys.argv[2]))}))
