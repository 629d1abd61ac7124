"""One of two processes, of which only one can read the checkpoint.

python -m torch.distributed.run --standalone --nproc-per-node=2 -m tests.engine.two_process_resume BACKBONE CHECKPOINT
OUT.json
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from barbench.engine.checkpoint import Checkpoint, Progress, tuned_state
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone


def main(backbone: str, path: str, out: str) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    segmenter = build_segmenter(resolve("head-only")[0], load_backbone(backbone, "random", seed=0), seed=0)
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values())
    Checkpoint(Path(path), "cell").save(accelerator, segmenter, optimizer, Progress(3, 0.5, 1.0, []))
    accelerator.wait_for_everyone()
    before = tuned_state(segmenter)
    # Its file is of another cell for the second process alone: it must not leave the first waiting, nor going on.
    checkpoint = Checkpoint(Path(path), "cell" if accelerator.is_main_process else "other")
    progress = checkpoint.load(accelerator, segmenter, optimizer)
    after = tuned_state(segmenter)
    same = all(torch.equal(before[name], after[name]) for name in before)
    found = gather_object([(progress is None, same, checkpoint.set_aside and checkpoint.set_aside.name)])
    if accelerator.is_main_process:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
