"""Options that several commands take, and checks of their values."""

import math
from typing import Any

import click

__all__ = ["Finite", "mpp_option", "plausible_mpp", "plausible_pair"]


class Finite(click.FloatRange):
    """A number within bounds; unlike click's own it refuses NaN and infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be used.", param, ctx)
        return number


def plausible_mpp(
    _ctx: click.Context, _param: click.Parameter, value: float | None
) -> float | None:
    """Refuse a size of a pixel that cannot be right."""
    if value is not None:
        _refuse_implausible((value, value))
    return value


def plausible_pair(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Read one size of a pixel or two, and refuse what cannot be right."""
    if value is None:
        return None
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, 2}:
        raise click.BadParameter(
            f"{value!r} is no pixel size: give one number, or two with a comma between them where "
            "pixels are not square, for instance 0.25 or 0.25,0.251."
        )
    pair = numbers[0], numbers[-1]
    _refuse_implausible(pair)
    return pair


def _refuse_implausible(mpp: tuple[float, float]) -> None:
    from napari_camelyon.slides.mpp import PLAUSIBLE_MPP, is_plausible

    if not is_plausible(mpp):
        low, high = PLAUSIBLE_MPP
        wrong = next(value for value in mpp if not is_plausible((value, value)))
        raise click.BadParameter(
            f"{wrong:g} cannot be right: give micrometres per pixel between {low:g} and {high:g}, "
            "for instance 0.25 for a 40× scan."
        )


mpp_option = click.option(
    "--mpp",
    type=float,
    metavar="µM/PX",
    callback=plausible_mpp,
    help="Size of a pixel, for slides that do not state it. Wins over the file and over what "
    "the command mpp keeps; is not kept itself.",
)
