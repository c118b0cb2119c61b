"""Families of models that are refused by their configuration, before anything is built or loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from llmbuilder.errors import ExportError
from llmbuilder_export.networks.refusals import refusal, refuse_encoder
from llmbuilder_export.sources.files import shown


def refuse_unknown_family(content: Mapping[str, Any], place: Path) -> None:
    """Refuse a configuration that names a family which transformers does not bring.

    Args:
        content: of a file ``config.json``; one that names none is left to transformers, which knows old ones.
        place: that file.

    Raises:
        ExportError: it does.
    """
    family = content.get("model_type")
    if not isinstance(family, str) or family in CONFIG_MAPPING:
        return
    if "auto_map" in content:
        raise ExportError(
            f"{place} is of the family {shown(family)}, which is code of its own, which no export runs. "
            "Export a model of a family that transformers brings."
        )
    raise ExportError(
        f"{place} is of the family {shown(family)}, which transformers {transformers.__version__} does not know. "
        "Upgrade transformers if a newer one does, or export a model of another family."
    )


def refuse_other_purpose(config: PretrainedConfig) -> None:
    """Refuse a family that does not write text token by token by itself.

    Raises:
        ExportError: it reads with an encoder, or has no causal language model.
    """
    refuse_encoder(config)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise refusal(config.model_type, "it is no language model that continues a text")
