"""A KV cache in int8: measured scales, steps that read it as it is, and chunks that compute in float32."""

from collections.abc import Callable

import onnx_ir as ir

from llmbuilder.bundle.manifest import ModelFacts
from llmbuilder.errors import ExportError
from llmbuilder_export.cache.rewrite import rewrite
from llmbuilder_export.cache.scales import cache_scales
from llmbuilder_export.networks.network import Network
from llmbuilder_export.quantize.calibrate import TOKENS


def cache_in_int8(model: ir.Model, facts: ModelFacts, progress: Callable[[str], None]) -> None:
    """Keep keys and values in int8, in place.

    Args:
        model: a fused and perhaps quantized graph whose cache is float32.
        facts: what the manifest says of it.
        progress: called with a line when the measuring begins.
    """
    progress("measure keys and values of text that the model writes itself")
    rewrite(model.graph, cache_scales(model, min(TOKENS, facts.context_length), facts.context_length))


def refuse_unfit(network: Network) -> None:
    """Raise if a cache in int8 would destroy the model.

    Raises:
        ExportError: its keys hold what 255 codes cannot tell apart.
    """
    if network.keys_hold_positions:
        raise ExportError(
            f"{network.facts.architecture} cannot have a KV cache in int8: its keys hold the linear biases of their "
            "positions, which are too many for 255 codes. Leave --kv-cache out."
        )
