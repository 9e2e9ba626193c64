"""The bundled network: small, fully convolutional, and plain enough to read."""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["TissueNet", "fold_normalisation"]

STRIDE_PX = 8
"""Input pixels from one output of `TissueNet.dense` to the next."""

MARGIN_PX = 48
"""Input pixels on each side of an output's own 8 that it sees (46), as whole outputs."""

_LEAST_SHARE = 1e-6
"""Keeps logits finite where all or nothing is tumour."""


class TissueNet(nn.Module):
    """A convolutional network that says where in a picture tumour is, and so how much of it.

    `dense` gives one logit every 8 pixels from the 100 pixels around; `forward` averages their
    probabilities over space, whatever its extent, and returns the logit of that average: the
    expected share of the picture that is tumour. No layer depends on the input's size.

    Parameters
    ----------
    normalise : bool
        With batch normalisation, for training. The weights that are shipped have it folded into
        the convolutions (`fold_normalisation`).
    """

    def __init__(self, *, normalise: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _Block(3, 24, size=5, stride=2, normalise=normalise),
            _Block(24, 32, normalise=normalise),
            _Block(32, 48, stride=2, normalise=normalise),
            _Block(48, 48, normalise=normalise),
            _Block(48, 96, stride=2, normalise=normalise),
            _Block(96, 96, normalise=normalise),
            _Block(96, 96, dilation=2, normalise=normalise),
        )
        self.head = nn.Conv2d(96, 1, 1)

    def dense(self, pictures: Tensor) -> Tensor:
        """Return logits of tumour, shape (n, 1, height / 8, width / 8)."""
        logits: Tensor = self.head(self.features(pictures))
        return logits

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logit of the share that is tumour, shape (n, 1).

        Parameters
        ----------
        pictures : Tensor, shape (n, 3, height, width)
            Normalised as the model's specification says.
        """
        # In float32 also under autocast: probabilities near 0 and 1 decide here.
        logits = self.dense(pictures).float()
        tumour = logits.sigmoid().mean(dim=(2, 3)).clamp_min(_LEAST_SHARE)
        # Not 1 - tumour, which bf16 makes 0 from 0.998 on; nor torch.logit, which OpenVINO lacks.
        normal = (-logits).sigmoid().mean(dim=(2, 3)).clamp_min(_LEAST_SHARE)
        return tumour.log() - normal.log()


class _Block(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            size,
            stride=stride,
            padding=dilation * (size // 2),
            dilation=dilation,
            bias=not normalise,
        )
        self.norm = nn.BatchNorm2d(outputs) if normalise else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(features)))


def fold_normalisation(trained: TissueNet) -> TissueNet:
    """Return a network without batch normalisation that computes the same in evaluation mode."""
    folded = TissueNet()
    trained = trained.eval()
    for source, target in zip(trained.features, folded.features, strict=True):
        if not (isinstance(source, _Block) and isinstance(target, _Block)):
            raise TypeError("TissueNet is made of blocks only.")
        if not isinstance(source.norm, nn.BatchNorm2d):
            raise TypeError("This network has no normalisation to fold.")
        fused = fuse_conv_bn_eval(source.conv, source.norm)
        target.conv.load_state_dict(fused.state_dict())
    folded.head.load_state_dict(trained.head.state_dict())
    return folded.eval()
