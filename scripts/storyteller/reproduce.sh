#!/bin/sh
# Train the storyteller anew: scripts/storyteller/reproduce.sh [OUTPUT FOLDER]
# LLMBuilder imports as `llmbuilder`, as this project does: it gets an environment of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-"$here/../../artifacts/storyteller"}
python3 -m venv "$here/.venv"
"$here/.venv/bin/pip" install --quiet --extra-index-url https://download.pytorch.org/whl/cpu \
    llmbuilder==2.0.0 torch==2.13.0 sentencepiece==0.2.3
"$here/.venv/bin/python" "$here/train.py" --out "$out"

echo "Now, in this project's own environment (make test made one in .venv-dev):"
echo "  .venv-dev/bin/llmb export $out/model.pt --tokenizer $out/tokenizer --output $out/bundle --overwrite"
echo "  .venv-dev/bin/python scripts/storyteller/evaluate.py --model $out"
