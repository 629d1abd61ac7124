"""Runs a gate in a process in which something is broken on purpose: `python FILE MUTATION GATE ARGUMENTS…`.

GATE is `barbench` (its command `check`) or `tools` (`tools.gate`).

The mutations are mistakes that are easily made and that leave a program running: a sign, a norm that is left out, half
a pixel. `none` breaks nothing.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from barbench import cli, metrics
from barbench.datasets.pixels import letterbox as transforms
from barbench.engine import counting, predict, step
from barbench.methods import bridge, gst, lim, snf
from barbench.models import segmenter

Mutation = Callable[[], None]


def snf_sign_of_beta() -> None:
    forward = snf.PlanarFlow.forward

    def mutant(self: snf.PlanarFlow, x: Tensor) -> Tensor:
        self.beta.data.neg_()
        y = forward(self, x)
        self.beta.data.neg_()
        return y

    snf.PlanarFlow.forward = mutant  # type: ignore[method-assign]


def bridge_without_layer_norm() -> None:
    attach = bridge.Bridge.attach

    def mutant(self: bridge.Bridge, backbone: Any) -> None:
        attach(self, backbone)
        for norm in self.ln_t:
            norm.forward = lambda x: x  # type: ignore[method-assign]

    bridge.Bridge.attach = mutant  # type: ignore[method-assign]


def lim_skips_a_block() -> None:
    """One block keeps the tokens inserted for the block before, in place of new ones (Eq. 2, 3)."""
    before = lim.LIM.before_block

    def mutant(self: lim.LIM, step: Any, vision: Any, text: Any, carry: Any) -> Any:
        return (vision, text) if step.number == 5 else before(self, step, vision, text, carry)

    lim.LIM.before_block = mutant  # type: ignore[method-assign]


def gst_prior_not_applied() -> None:
    """The words and patches enter as they are, without the cosine of Eq. 4."""
    gst.global_prior = lambda words, patches, sentence: gst.torch.cat([words, patches], 1)  # type: ignore[attr-defined]


def metric_not_strictly_greater() -> None:
    summarize = metrics.summarize

    def mutant(intersections: Any, unions: Any) -> metrics.Scores:
        ratios = metrics.iou(intersections, unions)
        precision = {metrics.precision_name(t): float((ratios >= t).mean()) for t in metrics.THRESHOLDS}
        return summarize(intersections, unions).model_copy(update=precision)

    replace_everywhere("summarize", summarize, mutant)


def metric_union_counts_the_overlap_twice() -> None:
    overlap = metrics.overlap

    def mutant(prediction: Any, target: Any) -> tuple[int, int]:
        meet, _ = overlap(prediction, target)
        return meet, int(np.count_nonzero(prediction)) + int(np.count_nonzero(target))

    replace_everywhere("overlap", overlap, mutant)

    # Evaluation counts on its own, in the box around a prediction.
    counter = counting.counter

    def mutant_counter(*given: Any, **options: Any) -> counting.Count:
        count = counter(*given, **options)

        def doubled(index: int, probability: Any) -> counting.Row:
            row = count(index, probability)
            control = row.control_union + max(row.control_intersection, 0)
            return row._replace(union=row.union + row.intersection, control_union=control)

        return doubled

    replace_everywhere("counter", counter, mutant_counter)


def letterbox_half_a_pixel() -> None:
    """Half-pixel centres in one direction: what comes of mixing `resize` with `warpAffine`."""
    place = transforms.Letterbox._place

    def mutant(self: transforms.Letterbox, height: int, width: int) -> tuple[float, float, float]:
        scale, x, y = place(self, height, width)
        return scale, x + 0.5 * (scale - 1), y + 0.5 * (scale - 1)

    transforms.Letterbox._place = mutant  # type: ignore[method-assign]


def adapters_at_the_rate_of_the_head() -> None:
    """The recipe's factor on the adapters' learning rate is forgotten."""

    launch = step.Stepper.launch

    def mutant(self: step.Stepper, micros: Any, lr: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["factor"] = 1.0
        return launch(self, micros, lr)

    step.Stepper.launch = mutant  # type: ignore[method-assign]


def training_masks_mirrored() -> None:
    """Targets are the mirror image of what the picture shows; training runs and its loss falls."""
    loss = step.training_loss
    step.training_loss = lambda output, mask: loss(output, mask.flip(-1))  # type: ignore[attr-defined]


def words_not_heard() -> None:
    """The head is given no words, in none of its three parts: what it masks depends on the picture alone."""
    neck, decoder, projector = segmenter.Neck.forward, segmenter.Decoder.forward, segmenter.Projector.forward

    def neck_without_sentence(self: Any, levels: Any, sentence: Tensor) -> Tensor:
        return neck(self, levels, sentence * 0)

    def without_words(self: Any, query: Tensor, words: Tensor, pad: Tensor) -> Tensor:
        return decoder(self, query, words * 0, pad)

    def without_sentence(self: Any, x: Tensor, sentence: Tensor) -> Tensor:
        return projector(self, x, sentence * 0)

    segmenter.Neck.forward = neck_without_sentence  # type: ignore[method-assign]
    segmenter.Decoder.forward = without_words  # type: ignore[method-assign]
    segmenter.Projector.forward = without_sentence  # type: ignore[method-assign]


def component_never_trained() -> None:
    """The optimizer forgets the method's own parameters."""
    tuned = segmenter.Segmenter.tuned_parameters

    def mutant(self: Any) -> dict[str, Any]:
        found = tuned(self)
        return {name: p for name, p in found.items() if not name.startswith("method.")}

    segmenter.Segmenter.tuned_parameters = mutant  # type: ignore[method-assign]


def rate_off_by_ten() -> None:
    """Every learning rate is ten times too large."""
    from barbench.spec import recipe

    rate = recipe.Recipe.rate
    recipe.Recipe.rate = lambda self, step, steps: 10 * rate(self, step, steps)  # type: ignore[method-assign]


def rate_a_tenth() -> None:
    """Every learning rate is ten times too small."""
    from barbench.spec import recipe

    rate = recipe.Recipe.rate
    recipe.Recipe.rate = lambda self, step, steps: rate(self, step, steps) / 10  # type: ignore[method-assign]


def twice_as_slow() -> None:
    """As long again is waited after each forward pass: no number changes, but the time."""
    forward = segmenter.Segmenter.forward

    def mutant(self: Any, *inputs: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        output = forward(self, *inputs, **named)
        wait = 2 * (time.perf_counter() - begin) if self.training else time.perf_counter() - begin
        time.sleep(wait)  # the backward pass, too, takes about as long as the forward pass again
        return output

    segmenter.Segmenter.forward = mutant  # type: ignore[method-assign]


def more_is_kept() -> None:
    """Something more is kept for the backward pass: a copy of the decoder's input."""
    forward = segmenter.Decoder.forward

    def mutant(self: Any, query: Tensor, words: Tensor, pad: Tensor) -> Tensor:
        return forward(self, query.clone() * query.new_ones(()), words, pad)

    segmenter.Decoder.forward = mutant  # type: ignore[method-assign]


def none() -> None:
    """Nothing is broken."""


def replace_everywhere(name: str, original: Any, mutant: Any) -> None:
    """In every module that imported it by name."""
    for key, module in list(sys.modules.items()):
        if key.startswith(("barbench", "tools")) and getattr(module, name, None) is original:
            setattr(module, name, mutant)


assert predict  # so that what imports from the mutated modules is there to be changed

if __name__ == "__main__":
    from barbench.regression import check
    from tools.gate import __main__ as gate

    assert check
    mutation, entry, *arguments = sys.argv[1:]
    globals()[mutation]()
    if entry == "barbench":
        sys.argv = ["barbench", "check", *arguments]
        cli.main()
    else:
        sys.argv = ["gate", *arguments]
        gate.main()
