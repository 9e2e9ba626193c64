"""Small modules around a loaded program, so that all models behave the same."""

import torch
from torch import Tensor, nn

__all__ = ["Exported", "FixedBatch", "LogProbabilities"]


class Exported(nn.Module):
    """A program of ``torch.export``, which refuses to be told that it is being evaluated.

    Parameters
    ----------
    program : torch.nn.Module
        As ``ExportedProgram.module()`` gives it.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> "Exported":
        """Remember the mode; whatever it says, the program computes as it was exported."""
        self.training = mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return what the program returns."""
        outputs: Tensor = self.program(pixels)
        return outputs


class FixedBatch(nn.Module):
    """Feeds a program that takes one number of pictures only: cut into such batches, padded.

    Parameters
    ----------
    program : torch.nn.Module
    size : int
        Pictures that it takes at once.
    """

    def __init__(self, program: nn.Module, size: int) -> None:
        super().__init__()
        self.program = program
        self.size = size

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the outputs of any number of pictures."""
        missing = -len(pixels) % self.size
        padded = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
        outputs = [self.program(part) for part in torch.split(padded, self.size)]
        return torch.cat(outputs)[: len(pixels)]


class LogProbabilities(nn.Module):
    """Turns probabilities back into what a softmax or a sigmoid makes the same probabilities of.

    Parameters
    ----------
    program : torch.nn.Module
        Its outputs are probabilities.
    single : bool
        One probability a picture instead of one for each class.
    """

    def __init__(self, program: nn.Module, *, single: bool) -> None:
        super().__init__()
        self.program = program
        self.single = single

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        # The smallest normal float32: rounding must not make a logarithm of 0.
        shares: Tensor = self.program(pixels).float()
        if self.single:
            # As torch.logit, which OpenVINO lacks, and finite in bf16, where 1 - 1e-7 is 1.
            return shares.clamp_min(1e-7).log() - (1 - shares).clamp_min(1e-7).log()
        return torch.log(shares.clamp_min(torch.finfo(torch.float32).tiny))
