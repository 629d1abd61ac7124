"""Measures what each method costs: `barbench profile`. Each is measured in a fresh process, `python -m
barbench.benchmarks.costs`, which reads what to measure from its standard input."""

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from barbench.benchmarks.execution.host.devices import core_count, pick_device
from barbench.benchmarks.execution.host.variables import worker_variables
from barbench.benchmarks.matrix import identify_weights
from barbench.engine import profile
from barbench.engine.profile_parts import by_part
from barbench.errors import BarbenchError
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import MethodSpec, Options
from barbench.methods.resolve import resolve
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.towers.load import load_backbone
from barbench.plain import OnProgress
from barbench.spec.backbone import RANDOM, backbone_config

REPEATS = 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RATE_SECONDS = 1.0


class Products(NamedTuple):
    """Matrix products that are timed together: `repeats` of (rows x inner) by (inner x columns)."""

    rows: int
    inner: int
    columns: int
    repeats: int


PRODUCTS = Products(2048, 768, 3072, 1)  # tokens, width, width of the MLP: a block of a ViT-B on a few images
# A launch and a wait take some 20 microseconds, a product of the size above 12: on a GPU it would be latency that is
# timed. These take 10 ms on the fastest.
GPU_PRODUCTS = Products(8192, 8192, 8192, 10)


def profile_methods(
    specs: Sequence[MethodSpec],
    options: Mapping[str, Options],
    backbone: str,
    weights: str | None,
    image_size: int | None,
    batch: int,
    words: int,
    device: str,
    precision: str,
    kernels: str,
    progress: OnProgress,
) -> list[dict[str, Any]]:
    """Measure each method in its own process; a method that fails has its reason instead of figures.

    Args:
        specs: the methods.
        options: arguments of the methods' components, by method.
        backbone: a name or a folder, as `load_backbone` takes it.
        weights: by default the folder's own, and random ones for an open_clip model.
        image_size: pixels; None for the backbone's own.
        batch: images per training step.
        words: context length in tokens.
        device: as torch names it, or auto.
        precision: fp32 or bf16.
        kernels: auto, low_memory or fused.
        progress: called before each method.

    Returns:
        One row per method, as `measure` makes it.

    Raises:
        BarbenchError: if no method could be measured.
    """
    config = backbone_config(backbone)
    tag, path = identify_weights(backbone, weights or (None if config.folder else RANDOM))
    shared = {
        "backbone": backbone,
        "weights": str(path) if path else tag,
        "image_size": config.image_size(image_size),
        "batch": batch,
        "words": words,
        "device": pick_device(device),
        "threads": core_count(),
        "precision": precision,
        "kernels": kernels,
    }
    rows = []
    for number, spec in enumerate(specs):
        progress(number, len(specs))
        own = {"reference": spec.reference or spec.name, "options": {**spec.options, **options.get(spec.name, {})}}
        rows.append({"method": spec.name} | _measure_apart(shared | own))
    if all("failed" in row for row in rows):
        raise BarbenchError(f"no method could be profiled: {rows[0]['failed']}")
    return rows


def _measure_apart(task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "barbench.benchmarks.costs"]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, env=worker_variables())
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Measure one method in this process.

    Args:
        task: what `profile_methods` writes to the process: method, options, backbone, sizes, device.

    Returns:
        Seconds per batch, megabytes with and above the built model, FLOPs per image, and the share of this machine's
        matrix-product rate that a training step reaches.
    """
    torch.set_num_threads(task["threads"])
    choose_kernels(task["kernels"])
    device, kind = torch.device(task["device"]), DTYPES[task["precision"]]
    backbone = load_backbone(task["backbone"], task["weights"], task["image_size"])
    segmenter = build_segmenter(resolve(task["reference"])[0], backbone, options=task["options"]).to(device)
    batch = profile.example_batch(segmenter, task["image_size"], task["words"], task["batch"])
    autocast = torch.autocast(device.type, kind, enabled=kind is not torch.float32)
    profile.reset_peak(device)
    base = profile.peak(device).bytes
    times = profile.timing(segmenter, *batch, repeats=REPEATS, autocast=autocast)
    peak, parts = profile.peak(device), by_part(segmenter, *batch, autocast=autocast)
    with autocast:
        saved = profile.saved_bytes(segmenter, *batch)
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


def matrix_rate(device: str, precision: str, threads: int) -> float:
    """Speed of large matrix products: the fastest within a second, because other load can only slow one down.

    Args:
        device: as torch names it.
        precision: a key of DTYPES.
        threads: of torch on a CPU.

    Returns:
        FLOPs per second, a multiply-add counted as two.
    """
    torch.set_num_threads(threads)
    rows, inner, columns, repeats = GPU_PRODUCTS if torch.device(device).type == "cuda" else PRODUCTS
    kind = DTYPES[precision]
    a, b = (torch.randn(shape, device=device).to(kind) for shape in ((rows, inner), (inner, columns)))
    out = torch.empty(rows, columns, device=device, dtype=kind)
    times: list[float] = []
    torch.mm(a[:8], b)  # a library begins with its first product
    while sum(times) < RATE_SECONDS:
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        out[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - begin)
    return 2 * rows * inner * columns * repeats / min(times)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        print(json.dumps(measure(json.load(sys.stdin))))
    except (BarbenchError, MemoryError, RuntimeError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
