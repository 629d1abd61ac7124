"""Measure one method in this fresh process: `barbench profile` starts `python -m barbench.benchmarks.measure` for
each."""

import json
import sys
import warnings
from typing import Any

import torch

from barbench.benchmarks.cost import KINDS, matrix_rate
from barbench.engine import profile
from barbench.engine.parts import by_part
from barbench.errors import BarbenchError
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.towers.load import load_backbone

REPEATS = 3


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Times in seconds a batch, memory in bytes above and with the built model, FLOPs of one image, and the share of
    this machine's own matrix-product rate that a training step reaches."""
    torch.set_num_threads(task["threads"])
    device, kind = torch.device(task["device"]), KINDS[task["precision"]]
    backbone = load_backbone(task["backbone"], task["weights"], task["image_size"])
    segmenter = build_segmenter(resolve(task["reference"])[0], backbone, options=task["options"]).to(device)
    batch = profile.example_batch(segmenter, task["image_size"], task["words"], task["batch"])
    with torch.autocast(device.type, kind, enabled=kind is not torch.float32):
        profile.reset_peak(device)
        base = profile.peak(device).bytes
        times = profile.timing(segmenter, *batch, repeats=REPEATS)
        peak = profile.peak(device)
        saved, parts = profile.saved_bytes(segmenter, *batch), by_part(segmenter, *batch)
    rate = matrix_rate(task["device"], task["precision"], task["threads"])
    forward, backward = (sum(p[i] for p in parts.values()) / task["batch"] / 1e9 for i in (2, 3))
    passes = times.forward + times.backward
    return {
        "ledger": segmenter.ledger(),
        "forward_s": times.forward,
        "backward_s": times.backward,
        "optimizer_s": times.optimizer,
        "inference_s": times.inference,
        "train_images_per_s": task["batch"] / (passes + times.optimizer),
        "infer_images_per_s": task["batch"] / times.inference,
        "gflop_forward": forward,
        "gflop_backward": backward,
        "machine_gflop_per_s": rate / 1e9,
        "share_of_machine": (forward + backward) * 1e9 * task["batch"] / passes / rate,
        "saved_mb": saved / 1e6,
        "peak_mb": peak.bytes / 1e6,
        "peak_above_model_mb": (peak.bytes - base) / 1e6,
        "peak_kind": peak.kind,
        "parts": {
            name: {
                "forward_s": part.forward_s,
                "backward_s": part.backward_s,
                "gflop_forward": part.forward_flops / task["batch"] / 1e9,
                "gflop_backward": part.backward_flops / task["batch"] / 1e9,
            }
            for name, part in parts.items()
        },
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        print(json.dumps(measure(json.load(sys.stdin))))
    except (BarbenchError, MemoryError, RuntimeError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
