"""The demonstration patient: five generated nodes with everything known about them."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_camelyon.files import atomic_file, cache_folder
from napari_camelyon.synthetic.artefacts import Artefacts, Bubble, Fold, Stroke
from napari_camelyon.synthetic.node_slides import (
    TILE_PX,
    NodeSlide,
    write_node_slide,
    write_outlines,
)
from napari_camelyon.synthetic.noise import child_seed
from napari_camelyon.synthetic.outlines import with_greatest_diameter
from napari_camelyon.synthetic.processes import process_pool
from napari_camelyon.synthetic.scanners import CENTRES
from napari_camelyon.synthetic.tissues import Deposit, NodePlan

__all__ = [
    "GENERATOR_VERSION",
    "PatientNode",
    "cached_patient",
    "make_patient",
    "outlines_of",
    "plan_patient",
    "read_truth",
    "write_patient",
]

GENERATOR_VERSION = 3
"""Raised whenever the same seed would give other pixels, so that caches are made anew."""

DEMO_MPP = 0.486
"""µm per pixel of the patient's slides: level 1 of a CAMELYON16 slide, a × 20 scan."""


@dataclass(frozen=True, slots=True)
class PatientNode:
    """A node of the patient and its true class.

    Attributes
    ----------
    name : str
        Stem of its files.
    node_class : str
        "negative", "itc", "micro" or "macro".
    diameter_um : float
        Greatest diameter of its largest deposit; 0 without.
    note : str
        What to look at.
    slide : NodeSlide
    """

    name: str
    node_class: str
    diameter_um: float
    note: str
    slide: NodeSlide


def plan_patient(seed: int = 0, mpp: float = DEMO_MPP) -> list[PatientNode]:
    """Plan a patient of five nodes: negative, ITC, micro, macro, negative with traps (pN1).

    Parameters
    ----------
    seed : int
        Anatomy, tumour and laboratory follow from it.
    mpp : float
        µm per pixel of the slides.
    """
    rng = np.random.default_rng(child_seed(seed, GENERATOR_VERSION, 1))
    tumour = {
        "pattern": str(rng.choice(["sheet", "nests", "nests", "glands"])),
        "nest_um": float(rng.uniform(80, 150)),
        "stroma": float(rng.uniform(0.08, 0.28)),
        "infiltration": float(rng.uniform(0.03, 0.14)),
    }
    centre = CENTRES[seed % len(CENTRES)]

    def node(
        number: int,
        size_um: tuple[float, float],
        node_class: str,
        diameter_um: float,
        note: str,
        glass_um: float = 330.0,
        **anatomy: float,
    ) -> PatientNode:
        length, breadth = size_um
        width_px = _whole_tiles((length + 2 * glass_um) / mpp)
        height_px = _whole_tiles((breadth + 2 * glass_um) / mpp)
        middle = (width_px * mpp / 2, height_px * mpp / 2)
        turn = float(rng.uniform(-0.12, 0.12))
        plan = NodePlan(
            seed=child_seed(seed, GENERATOR_VERSION, 2, number),
            x_um=middle[0],
            y_um=middle[1],
            length_um=length,
            breadth_um=breadth,
            angle=turn,
            capsule_um=float(rng.uniform(22, 38)),
            cortex_um=float(rng.uniform(0.22, 0.3)) * breadth,
            fat_um=float(rng.uniform(90, 180)),
            **anatomy,  # type: ignore[arg-type]
        )
        if diameter_um > 0:
            plan = replace(plan, deposits=(_deposit(rng, plan, diameter_um, tumour),))
        artefacts = _artefacts(rng, number, middle, (length, breadth), child_seed(seed, 3, number))
        slide = NodeSlide(plan, seed, centre, artefacts, width_px, height_px, mpp)
        name = f"synthetic_{seed:03d}_node_{number}"
        return PatientNode(name, node_class, diameter_um, note, slide)

    def about(value: float) -> float:
        return value * float(rng.uniform(0.94, 1.06))

    return [
        node(0, (about(1500), about(1100)), "negative", 0.0, "a quiet node"),
        node(
            1,
            (about(1550), about(1150)),
            "itc",
            about(105),
            "a cluster of some forty cells",
            germinal=0.35,
        ),
        node(2, (about(1900), about(1400)), "micro", about(800), "a deposit below the capsule"),
        node(
            3,
            (about(4000), about(2600)),
            "macro",
            about(2500),
            "a deposit of a third of the node, on a larger glass",
            glass_um=1100.0,
        ),
        node(
            4,
            (about(1700), about(1250)),
            "negative",
            0.0,
            "no tumour, but germinal centres, histiocytes, a thick capsule, pen and a fold",
            germinal=1.0,
            follicles=0.85,
            histiocytosis=0.95,
            trabeculae=1.7,
            medulla=0.6,
        ),
    ]


def make_patient(
    folder: Path | str,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    *,
    mpp: float = DEMO_MPP,
    workers: int | None = None,
) -> list[Path]:
    """Generate the demonstration patient, or return it when it is there already.

    Beside each ``<name>.tif`` with tumour lies its outline as ASAP XML, ``<name>.xml``; the
    ``synthetic_SSS_truth.json`` (written last) says seed, generator version, classes and sizes.

    Parameters
    ----------
    folder : path-like
        Created if needed.
    seed : int
        The same seed gives the same files, whatever the number of processes.
    progress : callable, optional
        Called with the share of the work that is done, 0–1; what it raises stops the work.
    mpp : float
        µm per pixel.
    workers : int, optional
        Processes; by default one a core. With 1 all is done in this process.

    Returns
    -------
    list of Path
        The five slides.

    Raises
    ------
    FileWriteError
        The disk is full or the folder cannot be written.
    """
    return write_patient(
        folder,
        plan_patient(seed, mpp),
        stem=f"synthetic_{seed:03d}",
        facts={"seed": seed, "mpp": mpp, "stage": "pN1"},
        progress=progress,
        workers=workers,
    )


def cached_patient(seed: int = 0, progress: Callable[[float], None] | None = None) -> list[Path]:
    """Return the demonstration patient from the program's cache; see `make_patient`."""
    folder = cache_folder() / "demo-patient" / f"seed-{seed}"
    return make_patient(folder, seed=seed, progress=progress)


def outlines_of(slides: list[Path]) -> list[Path]:
    """Return the outlines that lie beside generated slides; there are none without tumour."""
    return [path for slide in slides if (path := slide.with_suffix(".xml")).exists()]


def read_truth(slides: list[Path]) -> list[dict[str, Any]]:
    """Return what is true of generated slides: ``class``, ``greatest_diameter_um``, ``note``."""
    (written,) = slides[0].parent.glob("*_truth.json")
    nodes: list[dict[str, Any]] = json.loads(written.read_text(encoding="utf-8"))["nodes"]
    return nodes


def write_patient(
    folder: Path | str,
    nodes: list[PatientNode],
    *,
    stem: str,
    facts: dict[str, object],
    progress: Callable[[float], None] | None = None,
    workers: int | None = None,
) -> list[Path]:
    """Write any nodes as `make_patient` does, unless they are there already.

    Parameters
    ----------
    folder, progress, workers
        See `make_patient`.
    nodes : list of PatientNode
    stem : str
        The truth is written to ``<stem>_truth.json``.
    facts : dict
        What else the truth should say.

    Returns
    -------
    list of Path
        One slide a node.
    """
    folder = Path(folder)
    truth_path = folder / f"{stem}_truth.json"
    truth = _truth(nodes, facts)
    paths = [folder / f"{node.name}.tif" for node in nodes]
    if _is_there(truth_path, truth, paths):
        return paths
    in_all = sum(
        -(-node.slide.width_px // TILE_PX) * -(-node.slide.height_px // TILE_PX) for node in nodes
    )
    done = 0

    def count(_done: int, _in_all: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / in_all)

    workers = workers or os.cpu_count() or 1
    pool = process_pool(workers) if workers > 1 else None
    try:
        for node, path in zip(nodes, paths, strict=True):
            write_node_slide(path, node.slide, pool=pool, workers=workers, progress=count)
            if node.slide.plan.deposits:
                write_outlines(path.with_suffix(".xml"), node.slide)
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
    with atomic_file(truth_path) as temporary:
        temporary.write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return paths


def _truth(nodes: list[PatientNode], facts: dict[str, object]) -> dict[str, object]:
    return {
        "synthetic": True,
        "generator_version": GENERATOR_VERSION,
        **facts,
        "nodes": [
            {
                "slide": f"{node.name}.tif",
                "class": node.node_class,
                "greatest_diameter_um": round(node.diameter_um, 3),
                "note": node.note,
            }
            for node in nodes
        ],
    }


def _is_there(truth_path: Path, truth: dict[str, object], paths: list[Path]) -> bool:
    try:
        known = json.loads(truth_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(known == truth) and all(path.is_file() for path in paths)


def _whole_tiles(size_px: float) -> int:
    return int(np.ceil(size_px / TILE_PX)) * TILE_PX


def _deposit(
    rng: np.random.Generator, plan: NodePlan, diameter_um: float, tumour: dict[str, object]
) -> Deposit:
    """Put a deposit where lymph brings it first: in the cortex, away from the hilum."""
    length, breadth, turn = plan.length_um, plan.breadth_um, plan.angle
    angle = float(rng.uniform(np.pi * 1.15, np.pi * 1.85))  # y points down: the upper half
    small = diameter_um < 400
    inset = diameter_um * 0.36 + (60 if small else 10)
    a, b = max(length / 2 - inset, 1), max(breadth / 2 - inset, 1)
    u, v = a * np.cos(angle), b * np.sin(angle)
    aspect = float(rng.uniform(0.75, 0.95) if small else rng.uniform(0.6, 0.8))
    shape = Deposit(
        x_um=plan.x_um + u * np.cos(turn) - v * np.sin(turn),
        y_um=plan.y_um + u * np.sin(turn) + v * np.cos(turn),
        length_um=diameter_um,
        aspect=aspect,
        angle=float(turn + rng.normal(0, 0.25)),
        seed=int(rng.integers(2**62)),
        roughness=0.18 if small else 0.4,
        pattern="sheet" if small else str(tumour["pattern"]),
        nest_um=float(tumour["nest_um"]),  # type: ignore[arg-type]
        stroma=0.0 if small else float(tumour["stroma"]),  # type: ignore[arg-type]
        infiltration=0.0 if small else float(tumour["infiltration"]),  # type: ignore[arg-type]
        necrosis=380.0 if diameter_um > 2000 else 0.0,
    )
    return with_greatest_diameter(shape, diameter_um, plan)


def _artefacts(
    rng: np.random.Generator,
    number: int,
    middle: tuple[float, float],
    size_um: tuple[float, float],
    seed: int,
) -> Artefacts:
    length, breadth = size_um
    dust = float(rng.uniform(0.5, 2.0))
    if number != 4:
        return Artefacts(seed=seed, dust=dust)
    x, y = middle
    return Artefacts(
        seed=seed,
        strokes=(Stroke(x + 0.42 * length, y - 0.1 * breadth, 0.42 * breadth, -2.2, 1.0, 170.0),),
        folds=(
            Fold(
                x - 0.32 * length, y - 0.28 * breadth, x - 0.18 * length, y + 0.22 * breadth, 26.0
            ),
        ),
        bubbles=(Bubble(x - 0.02 * length, y + 0.1 * breadth, 140.0),),
        defocus=(Bubble(x + 0.1 * length, y - 0.3 * breadth, 190.0),),
        dust=dust,
    )
