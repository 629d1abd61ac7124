"""Measure one method in this fresh process: `barbench profile` starts `python -m barbench.benchmarks.measure` for
each."""

import json
import sys
import warnings
from typing import Any

import torch

from barbench.engine import profile
from barbench.errors import BarbenchError
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.towers.load import load_backbone


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Times in seconds a batch, memory in bytes above and with the built model, FLOPs of one image."""
    torch.set_num_threads(task["threads"])
    device = torch.device(task["device"])
    backbone = load_backbone(task["backbone"], task["weights"], task["image_size"])
    segmenter = build_segmenter(resolve(task["reference"])[0], backbone, options=task["options"]).to(device)
    batch = profile.example_batch(segmenter, task["image_size"], task["words"], task["batch"])
    flops, saved = profile.flops_forward(segmenter, *batch[:2]), profile.saved_bytes(segmenter, *batch)
    profile.reset_peak(device)
    base = profile.peak(device).bytes
    times = profile.timing(segmenter, *batch)
    peak = profile.peak(device)
    return {
        "ledger": segmenter.ledger(),
        "forward_s": times.forward,
        "backward_s": times.backward,
        "optimizer_s": times.optimizer,
        "inference_s": times.inference,
        "train_images_per_s": task["batch"] / (times.forward + times.backward + times.optimizer),
        "infer_images_per_s": task["batch"] / times.inference,
        "gflop_forward": flops / 1e9,
        "saved_mb": saved / 1e6,
        "peak_mb": peak.bytes / 1e6,
        "peak_above_model_mb": (peak.bytes - base) / 1e6,
        "peak_kind": peak.kind,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        print(json.dumps(measure(json.load(sys.stdin))))
    except (BarbenchError, MemoryError, RuntimeError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
