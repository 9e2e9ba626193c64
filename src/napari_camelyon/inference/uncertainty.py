"""Uncertainty: several predictions of each patch, their mean, and how far they disagree.

Where the samples come from is one of three: the same patch turned and mirrored (test-time
augmentation), the same network with its dropout left on (Monte Carlo dropout, Gal and Ghahramani
2016), or several networks (an ensemble, Lakshminarayanan et al. 2017). What is made of S samples
p_s is the same for all, with H the entropy in nats (natural logarithm) over all classes:

- total: H of the mean of the p_s;
- aleatoric: the mean of the H of the p_s, what each prediction is itself unsure of;
- epistemic: the difference, the mutual information between the class and the sample; never
  negative, as H is concave. It is 0 where the samples agree, however unsure they are.

A sigmoid model's classes need not exclude each other: for it, H is that of tumour against the
rest.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.numeric import NumericPath, prepare
from napari_camelyon.inference.predicted import Pending, Predicted
from napari_camelyon.inference.sampling import SYMMETRIES, UncertaintyKind
from napari_camelyon.models import Model
from napari_camelyon.slides import resize_box
from napari_camelyon.specs import ModelSpec
from napari_camelyon.stain import StainTransfer

__all__ = [
    "SamplingPredictor",
    "combine",
    "entropies",
    "sampling_predictor",
    "symmetric",
]

_SAME_FIELD = 0.01
"""How much the field of an ensemble's models may differ, as a share: less than a pixel in 100."""

_VERSION = 1
"""Raised whenever the same samples would come out differently, so that no run is continued with
others."""

Patches = NDArray[np.uint8]


def symmetric(patches: Patches, index: int) -> Patches:
    """Return patches under one of the eight symmetries of the square.

    Parameters
    ----------
    patches : ndarray, shape (n, px, px, …)
    index : int
        0–7: `index % 4` quarter turns counter-clockwise, from 4 on mirrored left to right before.
        0 changes nothing.

    Returns
    -------
    ndarray, shape (n, px, px, …)
        C-contiguous.
    """
    mirrored = patches[:, :, ::-1] if index >= 4 else patches
    return np.ascontiguousarray(np.rot90(mirrored, index % 4, axes=(1, 2)))


def entropies(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of each distribution over the last axis, in nats; 0 · ln 0 is 0."""
    values = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(np.where(values > 0, values, 1.0))
    return np.asarray(-(values * logs).sum(axis=-1))


def combine(samples: Sequence[ArrayLike], spec: ModelSpec) -> Predicted:
    """Return the mean of several predictions and the three uncertainties.

    Parameters
    ----------
    samples : sequence of array_like, each of shape (n, classes)
        Probabilities in the order of the specification's class names.
    spec : ModelSpec
        Tells whether the classes exclude each other.

    Returns
    -------
    Predicted
        With the maps ``uncertainty_total``, ``uncertainty_aleatoric`` and
        ``uncertainty_epistemic``, in nats.
    """
    stacked = np.stack([np.asarray(sample, dtype=np.float64) for sample in samples])
    mean = _mean(stacked)
    total = entropies(_exclusive(mean, spec))
    aleatoric = _mean(entropies(_exclusive(stacked, spec)))
    # Rounding may leave -1e-17 where samples are equal but for their last bit.
    epistemic = np.maximum(total - aleatoric, 0)
    return Predicted(
        mean.astype(np.float32),
        {
            "uncertainty_total": total.astype(np.float32),
            "uncertainty_aleatoric": aleatoric.astype(np.float32),
            "uncertainty_epistemic": epistemic.astype(np.float32),
        },
    )


def _mean(stacked: NDArray[np.float64]) -> NDArray[np.float64]:
    # From the first on, so that the mean of equal samples is exactly what each of them is.
    return np.asarray(stacked[0] + (stacked - stacked[0]).mean(axis=0))


def _exclusive(probabilities: NDArray[np.float64], spec: ModelSpec) -> NDArray[np.float64]:
    if spec.activation == "softmax":
        return probabilities
    tumour = probabilities[..., spec.tumour_class]
    return np.stack([1 - tumour, tumour], axis=-1)


@dataclass(frozen=True, slots=True)
class SamplingPredictor:
    """Predicts each patch several times; otherwise as `numeric.Predictor`.

    Attributes
    ----------
    model : Model
        The first, whose specification holds for the results.
    path : NumericPath
    batch_size : int
        Patches a batch.
    depth : int
        Batches in flight that keep it busy.
    sampling_key : str
        Two runs with the same key, model, path and batches give the same values, to the bit.
    submit : callable
        Takes uint8 patches (n, px, px, 3), not to be changed before the result is fetched;
        returns a `Pending`.
    close : callable
        Frees what it holds.
    stain : StainTransfer or None
        What is done to patches before the models see them.
    """

    model: Model
    path: NumericPath
    batch_size: int
    depth: int
    sampling_key: str
    submit: Callable[[Patches], Pending]
    close: Callable[[], None]
    stain: StainTransfer | None = None


def sampling_predictor(
    kind: str,
    models: Sequence[Model],
    path: NumericPath,
    *,
    samples: int = 20,
    batch_size: int | None = None,
    stain: StainTransfer | None = None,
) -> SamplingPredictor:
    """Set up what predicts each patch several times.

    Parameters
    ----------
    kind : {"tta", "mc_dropout", "ensemble"}
    models : sequence of Model
        One; for an ensemble two or more. The patches are those of the first. Another may take
        fewer pixels of the same field (they are averaged), never more; and its classes, if not
        the same, must be two.
    path : NumericPath
        From `choose_numeric_path` for the first; dropout needs the engine ``torch``.
    samples : int
        Predictions a patch for ``mc_dropout``.
    batch_size : int, optional
        As in `prepare`.
    stain : StainTransfer, optional
        As in `prepare`.

    Returns
    -------
    SamplingPredictor

    Raises
    ------
    ModelError
        The kind is unknown, the model has no dropout, the models do not go together, or one
        cannot run on this path.
    """
    if kind not in get_args(UncertaintyKind):
        raise ModelError(
            f"The uncertainty {kind!r} is not known. Choose one of: none, "
            f"{', '.join(get_args(UncertaintyKind))}."
        )
    if kind == "ensemble":
        return _ensemble(models, path, batch_size, stain)
    if len(models) != 1:
        raise ModelError(
            f"The uncertainty {kind!r} is that of one model; {len(models)} were given. "
            "Several models are an ensemble."
        )
    if kind == "tta":
        return _augmented(models[0], path, batch_size, stain)
    return _dropping(models[0], path, samples, batch_size, stain)


def _augmented(
    model: Model, path: NumericPath, batch_size: int | None, stain: StainTransfer | None
) -> SamplingPredictor:
    base = prepare(model, path, batch_size=batch_size, stain=stain)

    def submit(patches: Patches) -> Pending:
        waiting = [base.submit(symmetric(patches, index)) for index in range(SYMMETRIES)]
        return Pending(lambda: combine([one.result().probabilities for one in waiting], model.spec))

    key = f"tta v{_VERSION}"
    return SamplingPredictor(
        model, path, base.batch_size, base.depth, key, submit, base.close, stain
    )


# --- ensembles ---------------------------------------------------------------------------------


def _ensemble(
    models: Sequence[Model],
    path: NumericPath,
    batch_size: int | None,
    stain: StainTransfer | None,
) -> SamplingPredictor:
    if len(models) < 2:
        raise ModelError("An ensemble needs at least two models; name the others.")
    first = models[0]
    orders = [_order_of_classes(first, model) for model in models]
    for model in models[1:]:
        _refuse_other_fields(first, model)
    members = [prepare(model, path, batch_size=batch_size, stain=stain) for model in models]

    def submit(patches: Patches) -> Pending:
        waiting = [
            member.submit(_shrunk(patches, member.model.spec.patch_px)) for member in members
        ]

        def result() -> Predicted:
            samples = [
                one.result().probabilities[:, order]
                for one, order in zip(waiting, orders, strict=True)
            ]
            return combine(samples, first.spec)

        return Pending(result)

    def close() -> None:
        for member in members:
            member.close()

    hashes = " ".join(model.sha256[:16] for model in models)
    key = f"ensemble v{_VERSION} {hashes}"
    depth = max(member.depth for member in members)
    return SamplingPredictor(first, path, members[0].batch_size, depth, key, submit, close, stain)


def _order_of_classes(first: Model, other: Model) -> list[int]:
    """Return where the first model's classes stand among the other's."""
    names, others = first.spec.class_names, other.spec.class_names
    tumour, other_tumour = first.spec.tumour_class, other.spec.tumour_class
    if set(names) == set(others) and names[tumour] == others[other_tumour]:
        return [others.index(name) for name in names]
    if len(names) == len(others) == 2:
        return [other_tumour if index == tumour else 1 - other_tumour for index in range(2)]
    raise ModelError(
        f"The models {first.spec.name} and {other.spec.name} cannot be an ensemble: their classes "
        f"are {', '.join(names)} and {', '.join(others)}. Use models of the same classes, or of "
        "two each."
    )


def _refuse_other_fields(first: Model, other: Model) -> None:
    one, two = first.spec, other.spec
    together = f"The models {one.name} and {two.name} cannot be an ensemble"
    if abs(two.field_um / one.field_um - 1) > _SAME_FIELD:
        raise ModelError(
            f"{together}: their patches show {one.field_um:.1f} and {two.field_um:.1f} µm of "
            "tissue. Use models of the same field."
        )
    if two.patch_px > one.patch_px:
        raise ModelError(
            f"{together} in this order: {two.name} takes {two.patch_px} px of the field, "
            f"{one.name} only {one.patch_px} px. Name the one with more pixels first."
        )
    if (one.value_meaning, one.centre_px and one.centre_px * one.patch_mpp) != (
        two.value_meaning,
        two.centre_px and two.centre_px * two.patch_mpp,
    ):
        raise ModelError(
            f"{together}: a value of the one means {one.value_meaning!r}, of the other "
            f"{two.value_meaning!r} (or another centre). Their mean would mean neither."
        )
    if one.activation != two.activation and len(one.class_names) > 2:
        raise ModelError(
            f"{together}: the classes of the one exclude each other, those of the other do not."
        )


def _shrunk(patches: Patches, patch_px: int) -> Patches:
    side = patches.shape[1]
    if side == patch_px:
        return patches
    box = (0.0, 0.0, float(side), float(side))
    return np.stack([resize_box(patch, box, patch_px, patch_px) for patch in patches])


# --- dropout -----------------------------------------------------------------------------------

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class _Draws:
    """The random numbers of one sample: made anew from its seed, used by one thread at a time."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.count = 0
        self._generator: torch.Generator | None = None

    def begin(self, seed: int) -> None:
        self.seed, self.count, self._generator = seed, 0, None

    def end(self) -> None:
        self.seed = None

    def kept(self, shape: Sequence[int], share: float, device: torch.device) -> Tensor:
        """Return 1 where something is kept (with this probability) and 0 elsewhere."""
        if self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self.seed or 0)
        self.count += 1
        # In float32, so that every precision drops the same.
        ones = torch.empty(tuple(shape), dtype=torch.float32, device=device)
        return ones.bernoulli_(share, generator=self._generator)


def _with_dropout_left_on(module: nn.Module, draws: _Draws) -> nn.Module:
    """Return a copy in evaluation mode whose dropout layers drop what `draws` says.

    By hooks, which survive copying, tracing and folding; all else, batch normalisation among it,
    stays as it is in evaluation. torch's own numbers are not used, as any thread may draw them.
    """
    network = copy.deepcopy(module).eval()
    for layer in network.modules():
        if isinstance(layer, _DROPOUTS) and layer.p > 0:
            layer.register_forward_hook(_hook(draws))
    return network


def _hook(draws: _Draws) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def drop(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if draws.seed is None:
            return None
        (values,) = inputs
        share = 1 - float(layer.p)  # type: ignore[arg-type]
        if share <= 0:
            return torch.zeros_like(output)
        shape = list(values.shape)
        if not isinstance(layer, nn.Dropout):  # whole channels
            shape[2:] = [1] * len(shape[2:])
        kept = draws.kept(shape, share, values.device).to(values.dtype)
        return values * kept / share

    return drop


def _dropping(
    model: Model,
    path: NumericPath,
    samples: int,
    batch_size: int | None,
    stain: StainTransfer | None,
) -> SamplingPredictor:
    if samples < 2:
        raise ModelError(f"Dropout needs at least 2 samples a patch, not {samples}.")
    if model.kind != "torch":
        raise ModelError(
            f"Monte Carlo dropout needs a network of layers, such as a state dict; "
            f"{model.spec.name} is a program ({model.kind}). Use tta or an ensemble."
        )
    if not _can_drop(model.module):
        raise ModelError(
            f"The model {model.spec.name} has no dropout layers that can be left on, so Monte "
            "Carlo dropout would give the same value each time. Use tta or an ensemble."
        )
    if path.engine != "torch":
        raise ModelError(
            f"Monte Carlo dropout runs with the engine torch only, not {path.engine}: other "
            "engines take dropout out when they load a model."
        )
    draws = _Draws()
    network = _with_dropout_left_on(model.module, draws)
    base = prepare(replace(model, module=network), path, batch_size=batch_size, stain=stain)
    worker = ThreadPoolExecutor(1, thread_name_prefix="sample")

    def sample(patches: Patches, seed: int) -> NDArray[np.float32]:
        draws.begin(seed)
        try:
            predicted = base.submit(patches).result().probabilities
        finally:
            draws.end()
        if draws.count == 0:
            raise ModelError(
                f"The dropout layers of the model {model.spec.name} take no part in predicting. "
                "Use tta or an ensemble."
            )
        return predicted

    def run(patches: Patches) -> Predicted:
        digest = hashlib.blake2b(patches.tobytes(), digest_size=8).digest()
        # 63 bits, the range that every device's generator takes.
        root = int.from_bytes(digest, "little") >> 1
        return combine(
            [sample(patches, (root + index) % 2**63) for index in range(samples)], model.spec
        )

    def submit(patches: Patches) -> Pending:
        return Pending(worker.submit(run, patches).result)

    def close() -> None:
        worker.shutdown(cancel_futures=True)
        base.close()

    key = f"mc_dropout v{_VERSION} {samples}"
    return SamplingPredictor(model, path, base.batch_size, 2, key, submit, close, stain)


def _can_drop(module: nn.Module) -> bool:
    return any(isinstance(layer, _DROPOUTS) and layer.p > 0 for layer in module.modules())
