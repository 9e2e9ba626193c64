"""The name of a numeric path."""

from dataclasses import dataclass, field

__all__ = ["NumericPath"]


@dataclass(frozen=True, slots=True)
class NumericPath:
    """How the numbers of a run come about; one run keeps to one.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda:0``, ``mps``.
    engine : str
        ``torch``, ``compiled``, ``openvino`` or ``onnxruntime``.
    precision : str
        ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    because : str
        Why a faster one was not taken; empty: there is none. Takes no part in comparisons.
    """

    device: str
    engine: str
    precision: str
    because: str = field(default="", compare=False)

    def describe(self) -> str:
        """Return the path as people read it, such as ``torch bf16 on cpu``."""
        return f"{self.engine} {self.precision} on {self.device}"
