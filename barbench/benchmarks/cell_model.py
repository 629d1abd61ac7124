"""The model of a cell, untrained or trained, and what prepares its input: for the worker, `barbench predict` and
`panels`."""

from collections.abc import Sequence
from typing import NamedTuple

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load

from barbench.benchmarks.matrix import identify_backbone, identify_weights
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.photo import RGB, smoothed
from barbench.datasets.tokens import Tokens
from barbench.engine.accelerator import make_accelerator
from barbench.engine.checkpoint import load_tuned
from barbench.engine.predict import predict
from barbench.errors import DataError, UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.results.qualitative import Found
from barbench.results.record import Cell, Record
from barbench.results.store import Store
from barbench.spec.backbone import PRETRAINED, HeadChoice
from barbench.spec.dataset import DATASETS
from barbench.spec.recipe import Recipe
from barbench.spec.weights import without_digests


class Built(NamedTuple):
    """An untrained model on the CPU, with the letterbox of its image size and the tokens of its context length."""

    segmenter: Segmenter
    letterbox: Letterbox
    tokens: Tokens


def build(cell: Cell, backbone: str, weights: str) -> Built:
    """Build the untrained segmenter of a cell; head and method are drawn from the cell's seed. `backbone` and `weights`
    are what `load_backbone` accepts, of which the cell itself stores only names and hashes."""
    head = HeadChoice(cell.neck, cell.head_form)
    frozen = load_backbone(backbone, weights, cell.image_size, seed=cell.seed, head=head)
    (method,) = resolve(cell.method)
    segmenter = build_segmenter(method, frozen, cell.seed, cell.options)
    letterbox = Letterbox(frozen.image_size, frozen.normalization)
    length = cell.context_length or DATASETS.get(cell.dataset).context_length
    return Built(segmenter, letterbox, Tokens(frozen.tokenizer, length))


class Trained(NamedTuple):
    """The model of a finished cell, on the accelerator's device, in evaluation mode; its recipe has the threshold that
    the cell was scored with."""

    record: Record
    segmenter: Segmenter
    letterbox: Letterbox
    tokens: Tokens
    recipe: Recipe
    accelerator: Accelerator

    def find(self, photo: RGB, expressions: list[str], threshold: float | None = None) -> list[Found]:
        """Find what expressions refer to in a photo, uint8 (H, W, 3) RGB; a threshold of None is the recipe's."""
        limit = self.recipe.threshold if threshold is None else threshold
        return find_in_photo(self.segmenter, self.letterbox, self.tokens, self.accelerator, photo, expressions, limit)


def load_trained(
    store: Store, record: Record, device: str, backbone: str | None = None, weights: str | None = None
) -> Trained:
    """Load the model of a finished cell, ready to predict; `backbone` and `weights` are the user's folder and file, if
    the record names one.

    Raises:
        DataError: if the tuned weights are missing or do not fit.
        UsageError: if the backbone or its weights are not those of the record.
    """
    # The model as it was before its training.
    cell = record.cell
    tuned = store.tuned_weights(cell)
    built = build(cell, *_find(cell, backbone, weights))
    # What the training changed.
    try:
        load_tuned(built.segmenter, load(tuned))
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise DataError(f"{store.tuned(cell)} does not hold the weights of {cell.stem()}: {error}") from None
    accelerator = make_accelerator(device, cell.precision)
    built.segmenter.to(accelerator.device).eval()
    return Trained(record, *built, cell.training_recipe, accelerator)


def _find(cell: Cell, backbone: str | None, weights: str | None) -> tuple[str, str]:
    """Backbone and weights as `load_backbone` accepts them, checked against the cell's."""
    # The backbone: a name, or a folder whose name and hash the cell keeps.
    folder, _, digest = cell.backbone.rpartition("@")
    if backbone is None and digest and folder:
        raise UsageError(f"{cell.stem()} was trained on the folder {folder}: say where it is with --backbone FOLDER")
    name = backbone or cell.backbone
    found = identify_backbone(name)
    if found != cell.backbone:
        raise UsageError(f"{cell.stem()} was trained on the backbone {cell.backbone}; --backbone is {found}")

    # Its weights: a tag, or a file whose name and hash the cell keeps.
    file = without_digests(cell.weights)
    if weights is None and file not in (cell.weights, PRETRAINED):
        raise UsageError(f"{cell.stem()} was trained on the weights file {file}: say where it is with --weights FILE")
    tag, path = identify_weights(name, weights or file)
    if tag != cell.weights:
        raise UsageError(f"{cell.stem()} was trained on the weights {cell.weights} of {name}; these are {tag}")
    return name, path or tag


def check_expressions(expressions: Sequence[str]) -> None:
    """Refuse what names nothing to look for: UsageError for no expression, or one without words."""
    if not expressions:
        raise UsageError('there is no expression; give at least one, as in "the man in red"')
    for expression in expressions:
        if not isinstance(expression, str) or not expression.strip():
            raise UsageError(f'the expression {expression!r} has no words; give one as in "the man in red"')


def find_in_photo(
    segmenter: Segmenter,
    letterbox: Letterbox,
    tokens: Tokens,
    accelerator: Accelerator,
    photo: RGB,
    expressions: list[str],
    threshold: float,
) -> list[Found]:
    """Find what expressions refer to in a photo, uint8 (H, W, 3) RGB; the segmenter is in evaluation mode, on the
    accelerator's device."""
    # One image for all expressions.
    check_expressions(expressions)
    height, width = photo.shape[:2]
    encoded = tokens.encode(expressions)
    image = letterbox.image(smoothed(photo, letterbox.size))[None]
    rows = encoded.ids.new_zeros(len(expressions))
    found = []
    squares = predict(segmenter, image, encoded.ids, accelerator, rows)
    # Masks in the photo's own pixels.
    for expression, square, cut in zip(expressions, squares, encoded.truncated.tolist(), strict=True):
        probability = letterbox.restore(square, height, width).clip(0, 1)  # bicubic overshoots
        mask = probability > threshold
        score = float(probability[mask].mean()) if mask.any() else None
        found.append(Found(expression, mask, float(mask.mean()), score, float(probability.max()), bool(cut)))
    return found
