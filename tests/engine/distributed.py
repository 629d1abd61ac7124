"""One of several processes that evaluate together.

python -m torch.distributed.run --standalone --nproc-per-node=2 -m tests.engine.distributed ROOT BACKBONE OUT.json
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import Tokens
from barbench.engine.evaluate import evaluate
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone
from barbench.paper.partitions import PAPER_PARTITIONS


def main(root: str, folder: str, out: str) -> None:
    """Evaluate BarLeRIa on the val split of ROOT; the first process writes the table of expressions."""
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    backbone = load_backbone(folder, "random", seed=0)
    segmenter = build_segmenter(resolve("barleria")[0], backbone, seed=0)
    data = read_refer(Path(root), PAPER_PARTITIONS.get("refcoco+"))
    samples = EvalSamples(data.split("val"), Letterbox(backbone.image_size), Tokens(backbone.tokenizer, 17))
    found = evaluate(segmenter, samples, accelerator, batch=4, threshold=0.35)
    if accelerator.is_main_process:
        table = {name: column.tolist() for name, column in found.expressions.items()}
        rivals = {name: column.tolist() for name, column in (found.rivals or {}).items()}
        Path(out).write_text(json.dumps({"processes": accelerator.num_processes, "table": table, "rivals": rivals}))


if __name__ == "__main__":
    main(*sys.argv[1:])
