"""Measures what each method costs: `barbench profile`. Each is measured in a fresh process, `python -m
barbench.benchmarks.costs`, which reads what to measure from its standard input."""

import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict

from barbench.benchmarks.execution.host.devices import core_count, pick_device
from barbench.benchmarks.execution.host.variables import worker_variables
from barbench.benchmarks.matrix import identify_weights
from barbench.engine import profile
from barbench.engine.kernel_check import settle_kernels
from barbench.engine.precision import DTYPES
from barbench.engine.profile_parts import by_part
from barbench.errors import BarbenchError
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import MethodSpec, Options
from barbench.methods.resolve import resolve
from barbench.models.towers.load import load_backbone
from barbench.progress import OnProgress
from barbench.spec.backbone import RANDOM, HeadChoice, backbone_config
from barbench.spec.run import Kernels, Precision

REPEATS = 3
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


class Setting(BaseModel):
    """On what methods are measured.

    Attributes:
        weights: None for the folder's own, and random ones for an open_clip model.
        image_size: pixels; None for the backbone's own.
        batch: images per training step.
    """

    model_config = ConfigDict(frozen=True)

    backbone: str
    weights: str | None
    image_size: int | None
    head: HeadChoice
    batch: int
    context_length: int
    device: str
    precision: Precision
    kernels: Kernels
    threads: int = 1

    def here(self) -> Self:
        """The same with weights, image size, device and threads of this host."""
        config = backbone_config(self.backbone)
        default = None if config.folder else RANDOM
        tag, path = identify_weights(self.backbone, self.weights or default)
        return self.model_copy(
            update={
                "weights": path or tag,
                "image_size": config.image_size(self.image_size),
                "device": pick_device(self.device),
                "threads": core_count(),
            }
        )


class _Task(BaseModel):
    """What the process of one method is given."""

    setting: Setting
    reference: str
    options: dict[str, Any]


Row = dict[str, Any]


def profile_methods(
    specs: Sequence[MethodSpec], options: Mapping[str, Options], setting: Setting, progress: OnProgress
) -> list[Row]:
    """Measure each method in its own process: one row each, as `measure` makes it; a method that fails has its reason
    instead of figures. BarbenchError if none could be measured."""
    # A new process for each, so that memory of one is not that of the next.
    here = setting.here()
    rows = []
    for number, spec in enumerate(specs):
        progress(number, len(specs))
        own = {**spec.options, **options.get(spec.name, {})}
        task = _Task(setting=here, reference=spec.reference or spec.name, options=own)
        rows.append({"method": spec.name, **_measure_apart(task)})
    if all("failed" in row for row in rows):
        raise BarbenchError(f"no method could be profiled: {rows[0]['failed']}")
    return rows


def method_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows without the figures of their parts."""
    shorter = []
    for row in rows:
        shorter.append({name: value for name, value in row.items() if name != "parts"})
    return shorter


def part_rows(rows: Sequence[Row]) -> list[Row]:
    """One row for each part of each method."""
    found = []
    for row in rows:
        for name, part in row.get("parts", {}).items():
            found.append({"method": row["method"], "part": name, **part})
    return found


def _measure_apart(task: _Task) -> Row:
    command = [sys.executable, "-m", "barbench.benchmarks.costs"]
    done = subprocess.run(command, input=task.model_dump_json(), capture_output=True, text=True, env=worker_variables())
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return {"failed": lines[-1]}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(task: _Task) -> Row:
    """Measure one method in this process: seconds per batch, megabytes with and above the built model, FLOPs per image,
    and the share of this machine's matrix-product rate that a training step reaches."""
    setting = task.setting
    torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    settle_kernels(setting.kernels, device, setting.precision)
    dtype = DTYPES[setting.precision]
    backbone = load_backbone(setting.backbone, setting.weights, setting.image_size, head=setting.head)
    segmenter = build_segmenter(resolve(task.reference)[0], backbone, options=task.options).to(device)
    batch = profile.example_batch(segmenter, segmenter.image_size, setting.context_length, setting.batch)
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)

    # Time and memory of whole passes, then of their parts.
    profile.reset_peak(device)
    base = profile.peak(device).bytes
    times = profile.timing(segmenter, *batch, repeats=REPEATS, autocast=autocast)
    peak = profile.peak(device)
    parts = by_part(segmenter, *batch, autocast=autocast)
    with autocast:
        saved = profile.saved_bytes(segmenter, *batch)

    # FLOPs, against what the machine reaches on plain matrix products.
    rate = matrix_rate(setting.device, setting.precision, setting.threads)
    forward = sum(part.forward_flops for part in parts.values()) / setting.batch / 1e9
    backward = sum(part.backward_flops for part in parts.values()) / setting.batch / 1e9
    passes = times.forward + times.backward
    return {
        "ledger": segmenter.ledger(),
        "forward_s": times.forward,
        "backward_s": times.backward,
        "optimizer_s": times.optimizer,
        "inference_s": times.inference,
        "train_images_per_s": setting.batch / (passes + times.optimizer),
        "infer_images_per_s": setting.batch / times.inference,
        "gflop_forward": forward,
        "gflop_backward": backward,
        "machine_gflop_per_s": rate / 1e9,
        "share_of_machine": (forward + backward) * 1e9 * setting.batch / passes / rate,
        "saved_mb": saved / 1e6,
        "peak_mb": peak.bytes / 1e6,
        "peak_above_model_mb": (peak.bytes - base) / 1e6,
        "peak_kind": peak.kind,
        "parts": {
            name: {
                "forward_s": part.forward_s,
                "backward_s": part.backward_s,
                "gflop_forward": part.forward_flops / setting.batch / 1e9,
                "gflop_backward": part.backward_flops / setting.batch / 1e9,
            }
            for name, part in parts.items()
        },
    }


def matrix_rate(device: str, precision: str, threads: int) -> float:
    """FLOPs per second of large matrix products, a multiply-add counted as two: those of the fastest within a second,
    because other load can only slow one down."""
    torch.set_num_threads(threads)
    # Two matrices of a size that the device computes at full speed.
    on_gpu = torch.device(device).type == "cuda"
    size = GPU_PRODUCTS if on_gpu else PRODUCTS
    dtype = DTYPES[precision]
    a = torch.randn((size.rows, size.inner), device=device).to(dtype)
    b = torch.randn((size.inner, size.columns), device=device).to(dtype)
    out = torch.empty(size.rows, size.columns, device=device, dtype=dtype)
    torch.mm(a[:8], b)  # a library begins with its first product

    # Products are timed several at a time, since a clock is too coarse for one.
    times: list[float] = []
    while sum(times) < RATE_SECONDS:
        begin = time.perf_counter()
        for _ in range(size.repeats):
            torch.mm(a, b, out=out)
        out[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - begin)
    return 2 * math.prod(size) / min(times)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        print(json.dumps(measure(_Task.model_validate_json(sys.stdin.read()))))
    except (BarbenchError, MemoryError, RuntimeError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
