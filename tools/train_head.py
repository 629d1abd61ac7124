"""Train the segmentation head that ships with an embedded backbone: `python tools/train_head.py tiny`.

The head is trained head-only on clear pictures, those that the backbone was pretrained on; the benchmark's are hazed.
It is the same start for every method (`head: shipped` in a recipe).
"""

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file

import barbench as bb
from barbench.datasets.shapes import ShapesSpec, make_shapes
from barbench.models.segmenter import HEAD
from barbench.spec.backbone import EMBEDDED, HEAD_WEIGHTS
from barbench.spec.recipe import parse_recipe

CLEAR = ShapesSpec(train=800, val=100, testA=1, testB=1, haze=0.0, seed=1)
RECIPE = {"batch": 16, "optimizer": "adamw", "lr": 3e-3, "schedule": "cosine", "warmup": 0.05, "clip": 1.0}


def main(
    name: Annotated[str, typer.Argument(help=" or ".join(EMBEDDED))],
    epochs: Annotated[int, typer.Option(min=1, help="passes over 800 pictures")] = 4,
    seed: int = 0,
) -> None:
    """Train, print the score on clear pictures that were not trained on, and write the head beside the backbone."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_shapes(Path(folder), CLEAR)
        data = bb.open_data(folder, "refcoco+")
        model = bb.build_segmenter("head-only", backbone=name, seed=seed)
        training = bb.fit(model, data, parse_recipe("head", RECIPE | {"epochs": epochs}), seed=seed, device="cpu")
        print(f"{training.seconds:.0f} seconds; val: {bb.evaluate(model, data, 'val', device='cpu').metrics}")
    state = {n: v.half().contiguous() for n, v in model.state_dict().items() if n.startswith(HEAD)}
    save_file(state, EMBEDDED[name] / HEAD_WEIGHTS)


if __name__ == "__main__":
    typer.run(main)
