"""What goes wrong between the knife and the scanner: folds, blur, pen, bubbles and dust."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.synthetic.noise import child_seed, smooth_noise

__all__ = ["Artefacts", "Bubble", "Fold", "Stroke", "mark_glass", "spoil_tissue"]

Pigments = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A felt pen's stroke on the cover glass: an arc of a circle, in µm."""

    x_um: float
    y_um: float
    radius_um: float
    first_angle: float
    last_angle: float
    width_um: float
    ink: tuple[float, float, float] = (0.10, 0.24, 0.62)


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold: tissue lies double along a line from one point to another, in µm."""

    x0_um: float
    y0_um: float
    x1_um: float
    y1_um: float
    width_um: float


@dataclass(frozen=True, slots=True)
class Bubble:
    """An air bubble under the cover glass, in µm."""

    x_um: float
    y_um: float
    radius_um: float


@dataclass(frozen=True, slots=True)
class Artefacts:
    """All artefacts of a slide.

    Attributes
    ----------
    seed : int
        Of their edges, and of where dust lies.
    strokes, folds, bubbles : tuples
    defocus : tuple of Bubble
        Discs in which the scanner missed the focus.
    dust : float
        Specks a square millimetre.
    """

    seed: int = 0
    strokes: tuple[Stroke, ...] = ()
    folds: tuple[Fold, ...] = ()
    bubbles: tuple[Bubble, ...] = ()
    defocus: tuple[Bubble, ...] = ()
    dust: float = 0.0

    def touch(self, x_px: int, y_px: int, width_px: int, height_px: int, mpp: float) -> bool:
        """Tell whether a window may show any of them but dust."""
        left, top = x_px * mpp, y_px * mpp
        right, bottom = left + width_px * mpp, top + height_px * mpp

        def near(x: float, y: float, reach: float) -> bool:
            return left - reach < x < right + reach and top - reach < y < bottom + reach

        return (
            any(near(s.x_um, s.y_um, s.radius_um + s.width_um) for s in self.strokes)
            or any(
                near(
                    (f.x0_um + f.x1_um) / 2,
                    (f.y0_um + f.y1_um) / 2,
                    np.hypot(f.x1_um - f.x0_um, f.y1_um - f.y0_um) / 2 + 4 * f.width_um,
                )
                for f in self.folds
            )
            or any(near(b.x_um, b.y_um, b.radius_um * 1.3) for b in self.bubbles + self.defocus)
        )


def spoil_tissue(
    pigments: Pigments, artefacts: Artefacts, x_px: int, y_px: int, mpp: float
) -> Pigments:
    """Return pigments (height, width, 3) with folds and places out of focus."""
    x, y = _axes(pigments.shape, x_px, y_px, mpp)
    for number, fold in enumerate(artefacts.folds):
        wave = smooth_noise(child_seed(artefacts.seed, 1, number), x, y, 90.0)
        away = _distance_to_segment(x, y, fold) + wave * fold.width_um * 0.3
        double = np.clip((fold.width_um / 2 - away) / 3.0 + 0.5, 0, 1)
        pigments = pigments * (1 + 0.85 * double[..., None]).astype(np.float32)
    for place in artefacts.defocus:
        mask = _disc(x, y, place, 0.35 * place.radius_um)
        if mask.max() > 0:
            sigma = 1.6 / mpp
            soft = ndimage.gaussian_filter(pigments, (sigma, sigma, 0), truncate=2.5)
            pigments = pigments + (soft - pigments) * mask[..., None]
    return pigments


def mark_glass(
    picture: NDArray[np.uint8], artefacts: Artefacts, x_px: int, y_px: int, mpp: float
) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) with pen, bubbles and dust on top."""
    x, y = _axes(picture.shape, x_px, y_px, mpp)
    through = np.ones(picture.shape, np.float32)
    for number, stroke in enumerate(artefacts.strokes):
        cover = _stroke(x, y, stroke, child_seed(artefacts.seed, 2, number))
        through *= 1 - cover[..., None] * (1 - np.array(stroke.ink, np.float32))
    for bubble in artefacts.bubbles:
        away = np.hypot(x[None] - bubble.x_um, y[:, None] - bubble.y_um) / bubble.radius_um
        rim = np.exp(-(((away - 1) / 0.035) ** 2)).astype(np.float32)
        shade = np.exp(-(((away - 0.93) / 0.08) ** 2)).astype(np.float32)
        through *= 1 - (0.62 * rim + 0.22 * shade)[..., None]
    if artefacts.dust > 0:
        through *= 1 - _dust(x, y, artefacts)[..., None]
    if through.min() >= 0.999:
        return picture
    return np.asarray(np.clip(picture * through + np.float32(0.5), 0, 255), np.uint8)


def _axes(
    shape: tuple[int, ...], x_px: int, y_px: int, mpp: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = (x_px + np.arange(shape[1], dtype=np.float64) + 0.5) * mpp
    y = (y_px + np.arange(shape[0], dtype=np.float64) + 0.5) * mpp
    return x, y


def _distance_to_segment(
    x: NDArray[np.float64], y: NDArray[np.float64], fold: Fold
) -> NDArray[np.float32]:
    along_x, along_y = fold.x1_um - fold.x0_um, fold.y1_um - fold.y0_um
    length = np.hypot(along_x, along_y)
    right, down = x[None] - fold.x0_um, y[:, None] - fold.y0_um
    t = np.clip((right * along_x + down * along_y) / length**2, 0, 1)
    # Thinner towards its ends.
    taper = fold.width_um / 2 * (2 * t - 1) ** 4
    return np.asarray(np.hypot(right - t * along_x, down - t * along_y) + taper, np.float32)


def _disc(
    x: NDArray[np.float64], y: NDArray[np.float64], place: Bubble, soft_um: float
) -> NDArray[np.float32]:
    away = np.hypot(x[None] - place.x_um, y[:, None] - place.y_um)
    return np.asarray(np.clip((place.radius_um - away) / soft_um + 0.5, 0, 1), np.float32)


def _stroke(
    x: NDArray[np.float64], y: NDArray[np.float64], stroke: Stroke, seed: int
) -> NDArray[np.float32]:
    right, down = x[None] - stroke.x_um, y[:, None] - stroke.y_um
    radius = np.hypot(right, down)
    angle = np.mod(np.arctan2(down, right) - stroke.first_angle, 2 * np.pi)
    span = np.mod(stroke.last_angle - stroke.first_angle, 2 * np.pi)
    # Round ends: beyond the span, the distance to the nearer end.
    ends = [
        np.hypot(right - stroke.radius_um * np.cos(a), down - stroke.radius_um * np.sin(a))
        for a in (stroke.first_angle, stroke.last_angle)
    ]
    away = np.where(angle < span, np.abs(radius - stroke.radius_um), np.minimum(*ends))
    edge = smooth_noise(child_seed(seed, 1), x, y, 60.0) * 0.04 * stroke.width_um
    cover = np.clip((stroke.width_um / 2 + edge - away) / 12 + 0.5, 0, 1)
    streaks = 0.86 + 0.07 * smooth_noise(child_seed(seed, 2), x, y, 35.0)
    return np.asarray(cover * np.clip(streaks, 0.6, 1), np.float32)


def _dust(
    x: NDArray[np.float64], y: NDArray[np.float64], artefacts: Artefacts
) -> NDArray[np.float32]:
    """Return specks: the few highest hills of a fine noise."""
    hills = smooth_noise(child_seed(artefacts.seed, 3), x, y, 16.0)
    # Hills 16 µm apart: 4,000 a mm²; of these the share above a height follows the normal law.
    share = min(0.5, artefacts.dust / 4000)
    height = np.float32(np.sqrt(-2 * np.log(max(share, 1e-9))) * 0.93)
    return np.asarray(np.clip((hills - height) * 2.5, 0, 0.75), np.float32)
