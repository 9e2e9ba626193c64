"""Public models of this field by name: where they are, and what their publishers say of them.

Nothing here is measured by us. What a publisher does not say is not said here either; the rest
comes with the model when it is fetched.
"""

from dataclasses import dataclass

from napari_camelyon.specs import ModelSpec, ValueMeaning

__all__ = ["KNOWN_MODELS", "KnownModel"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A public model that can be fetched by its name.

    Attributes
    ----------
    name : str
    repository : str
        On the Hugging Face Hub.
    description : str
    licence : str or None
        Of the weights, as the repository says; None: not known before it is fetched.
    spec : ModelSpec or None
        Where the repository's own files leave spacing and classes open.
    value_meaning : str
        What a probability says of the patch's area, as far as it is known.
    centre_px : int or None
        As in `ModelSpec`.
    """

    name: str
    repository: str
    description: str
    licence: str | None
    spec: ModelSpec | None = None
    value_meaning: ValueMeaning = "any_tumour"
    centre_px: int | None = None


# A label of PatchCamelyon is positive where the central 32 × 32 of 96 × 96 pixels hold tumour
# (github.com/basveeling/pcam); TIAToolbox runs its models at 96 px and 1.0 µm/px
# (tia-toolbox.readthedocs.io, "Pretrained Neural Network Models") with pixels in 0–1.
_PCAM_CENTRE_PX = 32


def _zoo(name: str, description: str, licence: str | None) -> KnownModel:
    """Return a model of WSInfer's zoo, as its registry lists them."""
    return KnownModel(name, f"kaczmarj/{name}", description, licence)


def _pcam(network: str) -> KnownModel:
    """Return a network that TIAToolbox trained on PatchCamelyon, as timm's weights."""
    name = f"{network}.tiatoolbox-pcam"
    description = f"{network} of TIAToolbox, trained on PatchCamelyon."
    spec = ModelSpec(
        name=name,
        patch_px=96,
        patch_mpp=1.0,
        # The order of the labels of PatchCamelyon; the zoo of WSInfer names those of the same
        # weights of ResNet-50 Other and Metastasis.
        class_names=("normal", "tumour"),
        tumour_class=1,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        value_meaning="centre",
        centre_px=_PCAM_CENTRE_PX,
        description=description,
        architecture=f"timm:{network}",
    )
    return KnownModel(
        name, f"1aurent/{name}", description, "cc0-1.0", spec, "centre", _PCAM_CENTRE_PX
    )


KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        "lymphnodes-tiatoolbox-resnet50.patchcamelyon",
        "kaczmarj/lymphnodes-tiatoolbox-resnet50.patchcamelyon",
        "Lymph node metastasis (PatchCamelyon); WSInfer's zoo.",
        "cc-by-4.0",
        value_meaning="centre",
        centre_px=_PCAM_CENTRE_PX,
    ),
    *(
        _pcam(network)
        for network in ("resnet18", "resnet34", "resnet50", "wide_resnet50_2", "wide_resnet101_2")
    ),
    _zoo("breast-tumor-resnet34.tcga-brca", "Breast tumour; WSInfer's zoo.", "cc-by-4.0"),
    _zoo("lung-tumor-resnet34.tcga-luad", "Lung tumour; WSInfer's zoo.", "cc-by-4.0"),
    _zoo("pancreas-tumor-preactresnet34.tcga-paad", "Pancreas tumour; WSInfer's zoo.", "cc-by-4.0"),
    _zoo("prostate-tumor-resnet34.tcga-prad", "Prostate tumour; WSInfer's zoo.", "cc-by-4.0"),
    _zoo("pancancer-lymphocytes-inceptionv4.tcga", "Lymphocytes; WSInfer's zoo.", "cc-by-4.0"),
    _zoo(
        "colorectal-tiatoolbox-resnet50.kather100k",
        "Colorectal tissue (Kather100K); WSInfer's zoo.",
        "cc-by-4.0",
    ),
    _zoo("colorectal-resnet34.penn", "Colorectal cancer (Penn); WSInfer's zoo.", None),
)
