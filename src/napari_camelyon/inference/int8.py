"""Eight-bit networks, offered only where a proof lies beside the weights.

A network is quantised on patches of its own field and compared with itself in float32 on others:
the area under the ROC curve, the values of every patch, and which patches cross the threshold. Only
where all agree within the limits below are the quantised network and the proof kept, in a folder
beside the weights, and only then does `choose_numeric_path` take ``int8``.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import ModelError, ResultError
from napari_camelyon.files import atomic_folder, file_sha256, read_json_result, write_json
from napari_camelyon.inference.openvino_engine import (
    converted,
    explained_by_openvino,
    openvino_engine,
    require_openvino,
)
from napari_camelyon.inference.predicted import check_outputs, probabilities
from napari_camelyon.models import Model

if TYPE_CHECKING:
    import openvino

__all__ = [
    "LIMITS",
    "Int8Comparison",
    "compare_values",
    "int8_program",
    "proof_folder",
    "prove_int8",
    "read_proof",
]

SCHEMA_VERSION = 1
_PROOF, _PROGRAM = "proof.json", "model.xml"

LIMITS = {
    "auc_difference": 0.002,
    "mean_difference": 0.01,
    "difference_of_99_percent": 0.10,
    "crossing_share": 0.01,
}
"""The most by which int8 may differ: the AUC, the values of patches (their mean and what 99 % of
them stay under), and the share of patches that change sides of the threshold. A tenth of the
difference between two readers' slides in CAMELYON16 (AUC 0.02–0.03), and a tenth of the range of
values, so that a heatmap looks the same and a lesion's outline moves by less than a patch."""

_LEAST_PATCHES = 64
_CALIBRATION_SHARE = 3  # one patch in three is quantised on, the others compare
_MOST_CALIBRATION = 300  # NNCF's own default
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Int8Comparison:
    """How a quantised network compares with itself in float32, on patches it was not made with.

    Attributes
    ----------
    patches : int
        Compared.
    labelled : bool
        Whether the AUC is of true labels. Otherwise it measures int8 against which patches float32
        calls tumour, where float32 itself has 1.
    auc_fp32, auc_int8 : float
    max_difference, mean_difference, difference_of_99_percent : float
        Of the probability of tumour: largest, mean, and what 99 % of the patches stay under.
    crossing_share : float
        Share of the patches that lie on the other side of the threshold.
    threshold : float
    """

    patches: int
    labelled: bool
    auc_fp32: float
    auc_int8: float
    max_difference: float
    mean_difference: float
    difference_of_99_percent: float
    crossing_share: float
    threshold: float

    @property
    def auc_difference(self) -> float:
        """By how much the AUC of int8 is off."""
        return abs(self.auc_fp32 - self.auc_int8)

    def problems(self) -> list[str]:
        """Say what is beyond the limits; empty: the two are equal."""
        return [
            f"{name.replace('_', ' ')} {value:.4f} (at most {limit})"
            for name, limit in LIMITS.items()
            if (value := getattr(self, name)) > limit
        ]


def compare_values(
    fp32: NDArray[np.float32],
    int8: NDArray[np.float32],
    labels: NDArray[np.bool_] | None,
    threshold: float,
) -> Int8Comparison:
    """Compare the probabilities of tumour of the same patches.

    Parameters
    ----------
    fp32, int8 : ndarray of float32, shape (n,)
    labels : ndarray of bool, shape (n,), optional
        Which patches are tumour. Without them, what float32 calls tumour stands in.
    threshold : float

    Returns
    -------
    Int8Comparison

    Raises
    ------
    ModelError
        All patches are of one class, so that no AUC can be computed.
    """
    # Its room imports scipy's optimisers, which no run needs.
    from napari_camelyon.calibration import auc

    truth = fp32 >= threshold if labels is None else labels
    if truth.all() or not truth.any():
        what = "are labelled" if labels is not None else "are called by the model"
        raise ModelError(
            f"All {len(fp32)} patches {what} {'tumour' if truth.all() else 'normal'}; a proof "
            "needs patches of both. Add slides or patches with the other."
        )
    differences = np.abs(fp32 - int8)
    return Int8Comparison(
        patches=len(fp32),
        labelled=labels is not None,
        auc_fp32=auc(fp32, truth),
        auc_int8=auc(int8, truth),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        difference_of_99_percent=float(np.quantile(differences, 0.99)),
        crossing_share=float(((fp32 >= threshold) != (int8 >= threshold)).mean()),
        threshold=threshold,
    )


def proof_folder(model: Model) -> Path:
    """Return the folder beside the weights where the proof and the quantised network lie."""
    return model.path.parent / f"{model.path.stem}.int8"


def prove_int8(
    model: Model,
    patches: NDArray[np.uint8],
    labels: NDArray[np.bool_] | None = None,
    *,
    source: str = "",
    progress: Callable[[str], object] = lambda _: None,
) -> Int8Comparison:
    """Quantise a model and keep it, with the proof, if it says the same as in float32.

    Parameters
    ----------
    model : Model
    patches : ndarray of uint8, shape (n, px, px, 3)
        Of the model's field, tumour and normal; at least 64. A third is quantised on, chosen with
        a fixed seed; the others compare.
    labels : ndarray of bool, shape (n,), optional
        Which patches are tumour.
    source : str
        Where the patches come from, for the proof.
    progress : callable
        Told what is being done.

    Returns
    -------
    Int8Comparison
        Within the limits; proof and network lie in `proof_folder`.

    Raises
    ------
    ModelError
        The two differ by more than the limits (nothing is kept), there are too few patches, NNCF
        is missing, or the network cannot be quantised.
    FileWriteError
        The folder beside the weights cannot be written.
    """
    require_openvino(quantising=True)
    if len(patches) < _LEAST_PATCHES:
        raise ModelError(
            f"{len(patches)} patches are too few to prove anything; at least {_LEAST_PATCHES} are "
            "needed, of tumour and of normal tissue."
        )
    import openvino

    order = np.random.default_rng(0).permutation(len(patches))
    calibrating = np.zeros(len(patches), dtype=bool)
    calibrating[order[: min(len(patches) // _CALIBRATION_SHARE, _MOST_CALIBRATION)]] = True
    progress(f"Quantising on {calibrating.sum()} patches")
    plain = converted(model)
    quantised = _quantised(model, plain, patches[calibrating])
    compared = patches[~calibrating]
    with atomic_folder(proof_folder(model)) as fresh:
        openvino.save_model(quantised, fresh / _PROGRAM, compress_to_fp16=False)
        progress(f"Comparing on {len(compared)} others")
        comparison = compare_values(
            _tumour_values(model, plain, "fp32", compared),
            _tumour_values(model, fresh / _PROGRAM, "int8", compared),
            None if labels is None else labels[~calibrating],
            model.spec.threshold,
        )
        if problems := comparison.problems():
            raise ModelError(
                f"The model {model.path} does not say the same in int8: {'; '.join(problems)}. It "
                "stays with fp32 and bf16."
            )
        write_json(_proof(model, comparison, source, int(calibrating.sum()), fresh), fresh / _PROOF)
    return comparison


def read_proof(model: Model) -> dict[str, object]:
    """Return the proof that lies beside a model's weights.

    Raises
    ------
    ModelError
        There is none, or it is of other weights, another specification or another network.
    """
    folder = proof_folder(model)
    advice = f"Prove it first: napari-camelyon models prove-int8 {model.path} SLIDE_OR_PATCHES…"
    if not (folder / _PROOF).exists():
        raise ModelError(
            f"int8 is offered only where it was shown to say the same, and there is no proof for "
            f"{model.path}. {advice}"
        )
    try:
        proof = read_json_result(folder / _PROOF, newest_schema=SCHEMA_VERSION)
        found = {name: file_sha256(folder / name) for name in _files()}
    except (ResultError, OSError) as error:
        raise ModelError(
            f"The int8 proof in {folder} cannot be read ({error}). {advice}"
        ) from error
    if proof.get("model_sha256") != model.sha256 or proof.get("files_sha256") != found:
        raise ModelError(
            f"The int8 proof in {folder} is of other weights than {model.path} has now. {advice}"
        )
    if proof.get("input") != _input_of(model):
        raise ModelError(
            f"The int8 proof in {folder} is of another specification (patch, normalisation, "
            f"classes) than {model.path} has now. {advice}"
        )
    return proof


def int8_program(model: Model) -> Path:
    """Return the quantised network of a model with a valid proof; raises as `read_proof`."""
    read_proof(model)
    return proof_folder(model) / _PROGRAM


def _files() -> tuple[str, str]:
    return _PROGRAM, "model.bin"


def _input_of(model: Model) -> dict[str, object]:
    spec = model.spec
    return {
        "patch_px": spec.patch_px,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "activation": spec.activation,
        "class_names": list(spec.class_names),
        "tumour_class": spec.tumour_class,
    }


def _proof(
    model: Model, comparison: Int8Comparison, source: str, quantised_on: int, folder: Path
) -> dict[str, object]:
    import nncf
    import openvino

    return {
        "schema_version": SCHEMA_VERSION,
        "model": model.path.name,
        "model_sha256": model.sha256,
        "input": _input_of(model),
        "files_sha256": {name: file_sha256(folder / name) for name in _files()},
        "comparison": asdict(comparison),
        "limits": LIMITS,
        "patches_from": source,
        "quantised_on": quantised_on,
        "versions": {"openvino": openvino.__version__, "nncf": nncf.__version__},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _quantised(model: Model, plain: Path, patches: NDArray[np.uint8]) -> object:
    import nncf
    import openvino
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    mean = np.array(model.spec.mean, dtype=np.float32)
    std = np.array(model.spec.std, dtype=np.float32)

    def as_input(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs = (patch.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(inputs.transpose(2, 0, 1)[None])

    program = openvino.Core().read_model(plain)
    nncf.set_log_level(logging.ERROR)
    with explained_by_openvino(model):
        return nncf.quantize(
            program,
            nncf.Dataset(list(patches), as_input),
            subset_size=len(patches),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=_first_and_last(program)),
            # By default ranges are the mean of each patch's, which cuts off what is dark or odd:
            # on a ResNet-18, one patch in a hundred was off by 0.27 so, and by 0.03 with these.
            fast_bias_correction=False,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def _first_and_last(program: "openvino.Model") -> list[str]:
    """Name the layers that see the pixels and that decide: the usual ones to leave as they are.

    On a ResNet-18 that halves the mean difference.
    """
    layers = [
        operation.get_friendly_name()
        for operation in program.get_ordered_ops()
        if operation.get_type_name() in ("Convolution", "MatMul")
    ]
    return layers[:1] + layers[-1:] if len(layers) > 2 else []


def _tumour_values(
    model: Model, program: Path, precision: str, patches: NDArray[np.uint8]
) -> NDArray[np.float32]:
    engine = openvino_engine(model, program, precision, _BATCH)
    parts = [patches[start : start + _BATCH] for start in range(0, len(patches), _BATCH)]
    try:
        waiting = [engine.start(np.ascontiguousarray(part)) for part in parts]
        values = [
            probabilities(check_outputs(wait(), len(part), model), model)[
                :, model.spec.tumour_class
            ]
            for wait, part in zip(waiting, parts, strict=True)
        ]
    finally:
        engine.stop()
    return np.concatenate(values)
