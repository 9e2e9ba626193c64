"""Changes of a batch that leave its truth alone: turns, mirrors, stain, light and texture."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

__all__ = ["change_colours", "change_texture", "crop", "turn"]


def crop(
    pictures: Tensor, masks: Tensor, blocks: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut a random square of `blocks` × `blocks` mask blocks, the same for the whole batch."""
    block_px = pictures.shape[-1] // masks.shape[-1]
    room = masks.shape[-1] - blocks + 1
    row, column = (int(torch.randint(room, (1,), generator=generator)) for _ in range(2))
    side_px, top, left = blocks * block_px, row * block_px, column * block_px
    return (
        pictures[..., top : top + side_px, left : left + side_px],
        masks[..., row : row + blocks, column : column + blocks],
    )


def turn(pictures: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn and mirror pictures (n, 3, h, w) and masks (n, 1, h', w') alike.

    Quarter turns are drawn for the whole batch, mirrors for each picture.
    """
    quarters = int(torch.randint(4, (1,), generator=generator))
    mirrored = torch.rand(len(pictures), 1, 1, 1, generator=generator) < 0.5
    changed = []
    for images in (pictures, masks):
        turned = torch.rot90(images, quarters, dims=(2, 3))
        changed.append(torch.where(mirrored, turned.flip(3), turned))
    return changed[0], changed[1]


def change_colours(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Change the stain of pictures (n, 3, h, w) in 0–1, in optical density.

    Each picture gets its own mixing of the three channels, gain and offset; one in seven turns
    grey and one in seven has its channels exchanged, so that no hue can be relied on.
    """
    n = len(pictures)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    density = -torch.log(pictures.clamp(min=1 / 256))
    mixing = torch.eye(3) * torch.exp(0.2 * normal(n, 1, 3)) + 0.1 * normal(n, 3, 3)
    chance = torch.rand(n, generator=generator)
    grey = torch.full((3, 3), 1 / 3)
    mixing = torch.where((chance < 1 / 7)[:, None, None], grey @ mixing, mixing)
    order = torch.argsort(torch.rand(n, 3, generator=generator), dim=1)
    exchanged = torch.gather(mixing, 1, order[:, :, None].expand(n, 3, 3))
    mixing = torch.where((chance > 6 / 7)[:, None, None], exchanged, mixing)
    gain = torch.exp(0.2 * normal(n, 1, 1, 1))
    offset = 0.04 * normal(n, 3, 1, 1)
    changed = torch.einsum("nij,njhw->nihw", mixing, density) * gain + offset
    return torch.exp(-changed.clamp(0, 6))


def change_texture(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Sharpen or soften pictures (n, 3, h, w) in 0–1, and grain them at one and two pixels.

    What is finest in a picture comes from the scanner and the compression more than from the
    tissue, and is what generated tissue resembles least.
    """
    n, _, height, width = pictures.shape

    def uniform() -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator)

    soft = avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    changed = pictures + (2.0 * uniform() - 0.8) * (pictures - soft)
    fine = torch.randn(n, 1, height, width, generator=generator)
    coarse = torch.randn(n, 1, height // 2, width // 2, generator=generator)
    coarse = interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    changed = changed + 0.05 * uniform() ** 2 * fine + 0.1 * uniform() ** 2 * coarse
    return changed.clamp(0, 1)
