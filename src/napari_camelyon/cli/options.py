"""Checks of values that several commands take."""

import click

__all__ = ["plausible_mpp", "plausible_pair"]


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
