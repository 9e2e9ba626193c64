"""A network in an ONNX file, computed by ONNX Runtime behind the face of a torch module."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_camelyon.errors import ModelError

__all__ = ["OnnxModule"]


class OnnxModule(nn.Module):
    """Calls ONNX Runtime on the CPU, whatever device the input is on.

    Parameters
    ----------
    path : Path
        The ONNX file; data beside it that it names is found by itself.

    Attributes
    ----------
    path : Path
    only_batch : int or None
        The only number of pictures that it takes at once; None: any.

    Raises
    ------
    ModelError
        ONNX Runtime is not installed, or the file is damaged or takes no float32 pictures
        (n, 3, height, width).
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._session = _open(path)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            takes = "; ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise ModelError(
                f"The ONNX model {path} takes {takes}; expected one input of float32 pictures "
                "(n, 3, height, width)."
            )
        count, channels = inputs[0].shape[:2]
        if isinstance(channels, int) and channels != 3:
            raise ModelError(
                f"The ONNX model {path} takes pictures of shape {inputs[0].shape}; expected the "
                "three colours in the second place: (n, 3, height, width)."
            )
        self.only_batch = count if isinstance(count, int) else None
        self._input = inputs[0].name
        self._output = self._choose_output()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the outputs, shape (n, k), on the device of the input.

        Parameters
        ----------
        pixels : Tensor, shape (n, 3, height, width)
            Normalised as the model's specification says.
        """
        array = pixels.detach().float().contiguous().cpu().numpy()
        try:
            (outputs,) = self._session.run([self._output], {self._input: array})
        except Exception as error:  # its exceptions have no common base but this
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise ModelError(
                f"The ONNX model {self.path} failed on a batch of {tuple(pixels.shape)} "
                f"({str(error).splitlines()[0][:200]})."
            ) from error
        return torch.from_numpy(outputs).to(pixels.device)

    def __reduce__(self) -> tuple[Any, ...]:
        # A session cannot be copied or sent to another process; its file can be opened again.
        return (OnnxModule, (self.path,))

    def _choose_output(self) -> str:
        outputs = self._session.get_outputs()
        flat = [item.name for item in outputs if len(item.shape) in {1, 2}]
        named = [name for name in flat if "logit" in name.lower()]
        for names in (flat, named):
            if len(names) == 1:
                return str(names[0])
        listed = ", ".join(f"{item.name} {item.shape}" for item in outputs)
        raise ModelError(
            f"The ONNX model {self.path} returns {listed}; expected one output (n, classes), or "
            "one of them named logits."
        )


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"The model {path} needs ONNX Runtime. Type: pip install 'napari-camelyon[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # what goes wrong comes as an exception
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelError(
            f"The ONNX model {path} cannot be read ({str(error).splitlines()[0][:200]}). It may be "
            "damaged, or a file that belongs to it is missing."
        ) from error
