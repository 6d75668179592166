"""From the name of a scheme to its quantizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqe_backend_numpy.quantization.binary import BinaryQuantizer
from aqe_backend_numpy.quantization.product import ProductQuantizer
from aqe_backend_numpy.quantization.scalar import Float16Quantizer, Int8Quantizer
from aqe_core.errors import ConfigError

if TYPE_CHECKING:
    from aqe_backend_numpy.quantization._base import QuantizerBase

__all__ = ["make_quantizer", "own_options"]

_CLASSES: dict[str, type[QuantizerBase]] = {
    each.scheme: each for each in (Float16Quantizer, Int8Quantizer, BinaryQuantizer, ProductQuantizer)
}


def make_quantizer(*, scheme: str, dim: int, metric: str = "cosine", **options: Any) -> QuantizerBase:
    """Make a quantizer that has learned nothing yet.

    Parameters
    ----------
    scheme : str
        ``float16``, ``int8``, ``binary`` or ``product``.
    dim, metric
        As for a pattern store.
    **options
        Of ``product``: ``groups`` and ``seed``.

    Raises
    ------
    ConfigError
        An option is wrong, or the scheme has none of that name.
    """
    own_options(scheme, options)
    return _CLASSES[scheme](dim=dim, metric=metric, **options)


def own_options(scheme: str, options: dict[str, Any]) -> None:
    """Refuse options that a scheme does not have.

    Raises
    ------
    ConfigError
    """
    own = ("groups", "seed") if scheme == "product" else ()
    for name in options:
        if name not in own:
            raise ConfigError(
                f"the scheme {scheme!r} has no option {name!r}.", fix=f"it takes: {', '.join(own) or 'no options'}."
            )
