"""What transformers writes passes the check of tokenizers' files."""

import importlib
from pathlib import Path

import pytest
import transformers.models
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from llmbuilder.tokenizerfile.reading import check_tokenizer_json

_MODELS = Path(transformers.models.__file__).parent
_NEEDED = 50
"""Some cannot be made without files or other packages."""


def written():
    """The file of every tokenizer that can be made from nothing, by the name of its class."""
    for path in sorted(_MODELS.glob("*/tokenization_*.py")):
        try:
            module = importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}")
        except (ImportError, NameError):
            continue
        for name, kind in vars(module).items():
            own = getattr(kind, "__module__", None) == module.__name__
            if own and isinstance(kind, type) and issubclass(kind, TokenizersBackend):
                try:
                    yield name, kind().backend_tokenizer.to_str().encode()
                except (ImportError, TypeError, ValueError):
                    continue


@pytest.mark.filterwarnings("ignore")
def test_every_tokenizer_of_transformers_passes():
    names = set()
    for name, content in written():
        check_tokenizer_json(content, name)
        names.add(name)
    assert len(names) >= _NEEDED
