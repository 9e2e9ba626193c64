"""The cells of a lymph node and of its metastases, with their sizes.

Sizes are those of nuclei in formalin-fixed, paraffin-embedded sections, where cells measure a
fifth to a quarter less than in smears. Sources, by the key given with each type:

[dark]   Dark lymphocyte nuclei measure 4.4–4.6 µm (median of equivalent diameters) on normal
         patches of CAMELYON16 at 0.243 µm/px, tangentially cut ones included.
[ruler]  With a grid of 10 µm over the same patches: tumour nuclei 7–8.5 µm across on one slide and
         7–10 µm on another (square root of length × breadth), nuclei of venules, histiocytes and
         plump stroma 5.5–6.5 µm, round lymphocytes 4.5–5.2 µm. Larger ones made a model that
         ranked real tumour well only when the patches were magnified by a quarter.
[who]    WHO Classification of Tumours of Haematopoietic and Lymphoid Tissues, revised 4th
         edition (2017): a large cell's nucleus is at least a macrophage's or twice a small
         lymphocyte's; centroblasts have two to three times a lymphocyte's nucleus (taken
         as area).
[crocker] Crocker & Jones, J Clin Pathol 36:1332 (1983): nuclei of reactive follicle centres vary
         more in size than those of follicular lymphoma.
[tan]    Tan et al., Mod Pathol 14:937 (2001): mean nuclear area of ductal carcinoma 44, 48 and
         72 µm² by grade, that is 7.5, 7.8 and 9.6 µm across; the median drawn is 8.
[linden] van der Linden et al., Pathol Res Pract 181:236 (1986): nuclei of axillary metastases
         measure as in the primary tumour.
[vesicular] Elston & Ellis, Histopathology 19:403 (1991): nuclei of grade 3 are vesicular, with
         prominent and often several nucleoli.
[spacing] Counted by eye on tumour patches of CAMELYON16: 14 to 20 nuclei of 8 µm on a square of
         62 µm, that is neighbours 1.7 to 2.1 diameters apart where they are loosest.
[ross]   Ross & Pawlina, Histology, 8th edition: red cells 7–8 µm fresh (6–7 in sections), fat
         cells 50–100 µm, plasma cells and venule endothelium as drawn here.
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["CELL_TYPES", "RED_CELL_UM", "CellType", "Phenotype", "draw_phenotype"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellType:
    """How one kind of cell looks. Concentrations are optical densities (base e) at stain gain 1.

    Attributes
    ----------
    source : str
        Where the size comes from (see the module).
    nucleus_um : float
        Equivalent diameter of the nucleus; 0 for a cell without.
    spread : float
        Standard deviation of that diameter, relative.
    aspect : float
        Short axis over long axis.
    irregular : float
        Amplitude of the outline's bumps, relative to the radius.
    body : float
        Diameter of the cell over that of the nucleus.
    haematoxylin, density_spread : float
        Density of the nucleus and its standard deviation from cell to cell, relative.
    clumps, clump_um : float
        Contrast and size of the chromatin's clumps.
    rim : float
        Extra density of the nuclear membrane, relative.
    nucleoli : (int, int)
        Fewest and most nucleoli.
    nucleolus_um : float
        Their diameter.
    nucleus_eosin : float
        Eosin seen in and through the nucleus.
    body_eosin, body_haematoxylin : float
        Density of the cytoplasm.
    foam : float
        Contrast of vacuoles and granules in the cytoplasm.
    membrane : float
        Extra eosin at the cell's border.
    gap : float
        Share of cells with a bright shrinkage gap on one side.
    off_centre : float
        Shift of the nucleus, relative to the room it has.
    ghosts : float
        Share of nuclei of which the section holds but a cap: pale, soft, without a membrane.
    """

    source: str
    nucleus_um: float
    spread: float = 0.12
    aspect: float = 0.85
    irregular: float = 0.08
    body: float = 1.3
    haematoxylin: float = 1.0
    density_spread: float = 0.14
    clumps: float = 0.35
    clump_um: float = 1.0
    rim: float = 0.4
    nucleoli: tuple[int, int] = (0, 0)
    nucleolus_um: float = 1.0
    nucleus_eosin: float = 0.3
    body_eosin: float = 0.35
    body_haematoxylin: float = 0.1
    foam: float = 0.2
    membrane: float = 0.0
    gap: float = 0.3
    off_centre: float = 0.05
    ghosts: float = 0.1


CELL_TYPES: dict[str, CellType] = {
    "lymphocyte": CellType(
        source="dark", nucleus_um=4.8, spread=0.10, irregular=0.08, body=1.28, haematoxylin=2.0,
        density_spread=0.22, clumps=0.32, rim=0.2, body_eosin=0.34, gap=0.8,
    ),
    "mantle": CellType(
        source="dark", nucleus_um=4.6, spread=0.09, irregular=0.07, body=1.22, haematoxylin=2.15,
        clumps=0.28, rim=0.2, body_eosin=0.30, body_haematoxylin=0.12, gap=0.65,
    ),
    "activated": CellType(
        source="who", nucleus_um=5.6, body=1.35, haematoxylin=1.2, density_spread=0.22,
        clumps=0.42, clump_um=1.1, nucleoli=(0, 2), nucleolus_um=1.1, body_haematoxylin=0.18,
        gap=0.45,
    ),
    "centrocyte": CellType(
        source="crocker", nucleus_um=5.6, spread=0.14, aspect=0.7, irregular=0.12,
        haematoxylin=1.15, clumps=0.4, nucleoli=(0, 1), nucleolus_um=0.9, body_eosin=0.32,
        body_haematoxylin=0.16,
    ),
    "centroblast": CellType(
        source="who", nucleus_um=6.8, spread=0.13, aspect=0.88, body=1.32, haematoxylin=0.9,
        clumps=0.45, clump_um=1.2, rim=0.6, nucleoli=(1, 3), nucleolus_um=1.2, body_eosin=0.30,
        body_haematoxylin=0.30,
    ),
    "plasma": CellType(
        source="ross", nucleus_um=4.9, spread=0.08, aspect=0.92, irregular=0.05, body=1.85,
        haematoxylin=1.8, clumps=0.55, clump_um=1.3, rim=0.2, body_eosin=0.50,
        body_haematoxylin=0.32, membrane=0.06, gap=0.45, off_centre=0.42,
    ),
    "histiocyte": CellType(
        source="who, ruler", nucleus_um=6.2, spread=0.14, aspect=0.62, irregular=0.16, body=2.35,
        haematoxylin=0.62, density_spread=0.2, rim=0.55, nucleoli=(0, 1), body_eosin=0.45,
        body_haematoxylin=0.04, foam=0.55, membrane=0.05, gap=0.2, off_centre=0.25,
    ),
    "tingible": CellType(
        source="who", nucleus_um=6.6, aspect=0.72, irregular=0.1, body=2.6, haematoxylin=0.58,
        rim=0.5, nucleoli=(0, 1), nucleolus_um=1.1, body_eosin=0.16, body_haematoxylin=0.02,
        foam=0.7, membrane=0.04, off_centre=0.35,
    ),
    "endothelium": CellType(
        source="ross, ruler", nucleus_um=6.3, spread=0.13, aspect=0.5, body=1.4, haematoxylin=0.8,
        rim=0.55, nucleoli=(0, 1), nucleolus_um=0.9, body_eosin=0.46, body_haematoxylin=0.06,
        membrane=0.06, gap=0.1,
    ),
    "fibroblast": CellType(
        source="ross", nucleus_um=5.2, spread=0.18, aspect=0.24, irregular=0.06, body=1.15,
        haematoxylin=1.4, clumps=0.3, rim=0.1, nucleus_eosin=0.4, body_eosin=0.55,
        body_haematoxylin=0.0, gap=0.15, off_centre=0.0,
    ),
    "plump": CellType(
        source="ross, ruler", nucleus_um=6.8, spread=0.17, aspect=0.46, haematoxylin=0.75,
        density_spread=0.2, clumps=0.38, clump_um=1.1, rim=0.5, nucleoli=(0, 2),
        nucleus_eosin=0.4, body_eosin=0.52, body_haematoxylin=0.05, gap=0.1, off_centre=0.0,
    ),
    "red": CellType(
        source="ross", nucleus_um=0.0, spread=0.08, irregular=0.1, body=1.0, haematoxylin=0.0,
        body_eosin=0.95, body_haematoxylin=0.0, foam=0.0, gap=0.0,
    ),
    "eosinophil": CellType(
        source="ross", nucleus_um=4.2, spread=0.1, aspect=0.6, irregular=0.25, body=1.95,
        haematoxylin=1.8, clumps=0.3, rim=0.1, body_eosin=1.1, body_haematoxylin=0.0, foam=0.5,
        off_centre=0.25,
    ),
    "apoptotic": CellType(
        source="ross", nucleus_um=2.8, spread=0.25, aspect=0.9, irregular=0.1, body=2.2,
        haematoxylin=2.6, clumps=0.1, rim=0.0, body_eosin=0.75, body_haematoxylin=0.02, gap=0.6,
        off_centre=0.1,
    ),
    "mitosis": CellType(
        source="ross", nucleus_um=6.0, spread=0.15, aspect=0.4, irregular=0.3, body=2.0,
        haematoxylin=2.4, clumps=0.45, clump_um=1.2, rim=0.0, body_eosin=0.34,
        body_haematoxylin=0.06, membrane=0.05, gap=0.2, off_centre=0.0,
    ),
    "tumour": CellType(
        source="tan, linden, ruler", nucleus_um=8.0, spread=0.14, aspect=0.8, body=1.55,
        clumps=0.45, clump_um=1.4, nucleoli=(0, 2), nucleolus_um=1.6, body_eosin=0.55,
        body_haematoxylin=0.12, membrane=0.1, gap=0.15, off_centre=0.12,
    ),
}  # fmt: skip
"""Typical cells; `draw_phenotype` draws the look of one patient's."""

RED_CELL_UM = 6.4
"""Diameter of a red cell in a section [ross]."""


@dataclass(frozen=True, slots=True)
class Phenotype:
    """What differs from one patient's tissue to the next.

    Attributes
    ----------
    types : dict of str to CellType
        This patient's cells.
    small_spacing_um, medium_spacing_um, tumour_spacing_um : float
        Distance of neighbouring cells of lymphoid, larger reactive and tumour cells.
    gap_strength : float
        How much shrinkage opened between the cells, 0–1.
    haze : float
        Density of what lies between the cells of lymphoid tissue, relative.
    wisps : float
        Amount of reticulin and collagen threads in it, relative.
    grain : float
        Contrast of the finest texture of the section (1 µm), relative.
    """

    types: dict[str, CellType]
    small_spacing_um: float
    medium_spacing_um: float
    tumour_spacing_um: float
    gap_strength: float
    haze: float
    wisps: float
    grain: float


SMALLEST_TUMOUR_UM = 7.2
"""Smallest mean diameter of a tumour's nuclei before shrinkage: a little below grade 1 in [tan]."""


def draw_phenotype(
    rng: np.random.Generator, *, smallest_tumour_um: float = SMALLEST_TUMOUR_UM
) -> Phenotype:
    """Draw one patient's tissue: one shrinkage for all cells, and a tumour of its own kind.

    Parameters
    ----------
    rng : numpy.random.Generator
    smallest_tumour_um : float
        The mean diameter of the tumour's nuclei is at least this, before shrinkage.
    """
    shrink = float(np.clip(rng.normal(0.98, 0.06), 0.88, 1.12))
    types = {name: _varied(cell, shrink, rng) for name, cell in CELL_TYPES.items()}
    tumour = types["tumour"] = _drawn_tumour(types["tumour"], shrink, smallest_tumour_um, rng)
    return Phenotype(
        types=types,
        small_spacing_um=types["lymphocyte"].nucleus_um * float(rng.uniform(1.28, 1.62)),
        medium_spacing_um=types["centroblast"].nucleus_um * float(rng.uniform(1.15, 1.4)),
        tumour_spacing_um=tumour.nucleus_um * tumour.body * float(rng.uniform(0.82, 1.0)),
        gap_strength=float(rng.uniform(0.35, 1.0)),
        haze=float(rng.uniform(0.7, 1.5)),
        wisps=float(rng.uniform(0.4, 1.5)),
        grain=float(rng.uniform(0.03, 0.3)),
    )


def _varied(cell: CellType, shrink: float, rng: np.random.Generator) -> CellType:
    return replace(
        cell,
        nucleus_um=cell.nucleus_um * shrink * float(rng.normal(1.0, 0.03)),
        haematoxylin=cell.haematoxylin * float(rng.normal(1.0, 0.1)),
        nucleus_eosin=cell.nucleus_eosin * float(rng.uniform(0.7, 2.2)),
        body_eosin=cell.body_eosin * float(rng.normal(1.0, 0.14)),
        body_haematoxylin=cell.body_haematoxylin * float(rng.uniform(0.5, 1.8)),
        clumps=cell.clumps * float(rng.uniform(0.7, 1.4)),
        rim=cell.rim * float(rng.uniform(0.6, 1.5)),
        gap=min(1.0, cell.gap * float(rng.uniform(0.5, 1.4))),
        foam=cell.foam * float(rng.uniform(0.6, 2.0)),
        ghosts=cell.ghosts * float(rng.uniform(0.3, 2.5)),
    )


def _drawn_tumour(
    cell: CellType, shrink: float, smallest_um: float, rng: np.random.Generator
) -> CellType:
    """Draw a tumour's cells.

    Mean nuclear diameters run from 7.2 to 12 µm: the means of [tan] with room for the
    pleomorphic ones of grade 3. Neighbours lie 1.1 to 2 diameters apart [spacing]. Two of five
    tumours have vesicular nuclei: pale, seen through to the cytoplasm's colour, with a drawn
    membrane and large nucleoli [vesicular].
    """
    size = float(np.clip(rng.lognormal(np.log(8.0), 0.16), smallest_um, 12.0))
    body_eosin = float(rng.uniform(0.2, 0.7))
    vesicular = bool(rng.uniform() < 0.4)
    palest, darkest = (0.3, 0.8) if vesicular else (0.4, 1.6)
    chromatin = replace(
        cell,
        haematoxylin=float(np.exp(rng.uniform(np.log(palest), np.log(darkest)))),
        rim=float(rng.uniform(0.5, 2.0) if vesicular else rng.uniform(0.2, 1.0)),
        nucleoli=(int(vesicular or rng.uniform() < 0.5), int(rng.choice([1, 1, 2, 2, 3]))),
        nucleolus_um=float(rng.uniform(1.0, 2.6 if vesicular else 2.1)),
        nucleus_eosin=body_eosin
        * float(rng.uniform(0.7, 1.3) if vesicular else rng.uniform(0.4, 1.1)),
    )
    return replace(
        chromatin,
        nucleus_um=size * shrink,
        spread=float(rng.uniform(0.08, 0.24)),
        aspect=float(rng.uniform(0.64, 0.92)),
        irregular=float(rng.uniform(0.03, 0.12)),
        body=float(rng.uniform(1.35, 2.0)),
        density_spread=float(rng.uniform(0.08, 0.3)),
        clumps=float(rng.uniform(0.2, 0.8)),
        clump_um=float(rng.uniform(0.6, 1.6)),
        body_eosin=body_eosin,
        body_haematoxylin=float(rng.uniform(0.0, 0.25)),
        foam=float(rng.uniform(0.2, 1.3)),
        membrane=float(rng.uniform(0.0, 0.4)),
        gap=float(rng.uniform(0.0, 0.4)),
        ghosts=float(rng.uniform(0.0, 0.4)),
    )
