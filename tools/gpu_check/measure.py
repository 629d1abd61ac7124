"""Speed of training and inference on one device through barbench's own engine, beside what the device can do.

    python -m tools.gpu_check.measure etris barleria --out gpu-check          # needs a GPU
    python -m tools.gpu_check.measure etris --device cpu --quick              # a try on a CPU: does it start and end

Writes measure.json, and for each method the operations that take most of a step. Images, masks and weights are random:
zeros run faster than data do. The loader hands out a batch that is ready, so that a step's rate is that of the device
and the host; `loader` says what the loader's processes can feed.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from barbench.benchmarks.costs import matrix_rate
from barbench.datasets.samples import TrainBatch
from barbench.engine import profile
from barbench.engine.accelerator import make_accelerator
from barbench.engine.checkpoint import Checkpoint
from barbench.engine.pending import steps_in_flight
from barbench.engine.precision import precision_facts
from barbench.engine.predict import predict
from barbench.engine.profile_parts import by_part
from barbench.engine.train import fit
from barbench.engine.training_state import StepLog
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.spec.recipe import load_recipe

CONTEXT = 17
TRACED = 3
COLUMNS = {
    "step ms": "step_ms", "images/s": "train_images_per_s", "busy ms": "busy_ms", "kernels": "kernels_per_step",
    "waits": "stream_waits_per_step", "infer/s": "infer_images_per_s", "peak GB": "peak_gb",
}  # fmt: skip


class Asked(NamedTuple):
    """Sizes of a measurement."""

    device: torch.device
    precision: str
    backbone: str
    size: int
    batch: int
    steps: int
    workers: int
    out: Path


class Named(NamedTuple):
    """What `fit` asks of a reference."""

    ref_id: int


class Ready:
    """Samples that are ready: one batch of random pixels, copied for each request as a loader would."""

    def __init__(self, asked: Asked, count: int) -> None:
        make = np.random.default_rng(0)
        batch = asked.batch
        size = asked.size
        images = make.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        masks = make.random((batch, size // 4, size // 4)) > 0.8
        self.images = torch.from_numpy(images)
        self.masks = torch.from_numpy(masks.astype(np.float32))
        self.ids = torch.zeros(batch, CONTEXT, dtype=torch.long)
        self.ids[:, :8] = torch.from_numpy(make.integers(1, 200, (batch, 8)))
        self.ids[:, 8] = 300
        self.references = [Named(i) for i in range(count)]

    def set_epoch(self, epoch: int) -> None:
        """Nothing is drawn."""

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, indices: list[int]) -> TrainBatch:
        n = len(indices)
        return TrainBatch(self.images[:n].clone(), self.ids[:n].clone(), self.masks[:n].clone(), indices)


def middle(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median seconds of `run`, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        begin = profile.now(device)
        run()
        times.append(profile.now(device) - begin)
    return median(times[2:])


def ceilings(asked: Asked) -> dict[str, float]:
    """What the device can do: matrix products in TFLOP/s, copies in GB/s."""
    device = asked.device
    cuda = device.type == "cuda"
    found = {}
    for dtype in ("fp32", "bf16"):
        found[f"{dtype}_tflops"] = matrix_rate(str(device), dtype, torch.get_num_threads()) / 1e12
    x = torch.randn(2**29 if cuda else 2**20, device=device)
    y = torch.empty_like(x)
    found["copy_gb_s"] = 2 * x.nbytes / middle(lambda: y.copy_(x), device, 5) / 1e9
    pinned = torch.empty(2**26 if cuda else 2**20, dtype=torch.uint8, pin_memory=cuda)
    found["to_device_gb_s"] = pinned.nbytes / middle(lambda: pinned.to(device, non_blocking=True), device, 5) / 1e9
    return found


def loader_rate(asked: Asked) -> float:
    """Images per second through the loader's processes and the pinning thread, nothing computed."""
    cuda = asked.device.type == "cuda"
    count = 40 if cuda else 3
    samples: Any = Ready(asked, 1)
    order = [list(range(asked.batch))] * (count + 1)
    loader = DataLoader(samples, batch_size=None, sampler=order, num_workers=asked.workers, pin_memory=cuda)
    batches = iter(loader)
    next(batches)  # the processes start
    begin = time.perf_counter()
    for batch in batches:
        batch.images.to(asked.device, non_blocking=True)
    return count * asked.batch / (profile.now(asked.device) - begin)


def measure(asked: Asked, method: str, kernels: str) -> dict[str, Any]:
    """A training through `fit`, and inference through `predict`: rates, memory, kernels and waits per step."""
    # The model.
    choose_kernels(kernels)
    accelerator = make_accelerator(str(asked.device), asked.precision)
    torch.manual_seed(0)
    weights = None if asked.backbone == "tiny" else "random"
    segmenter = build_segmenter(resolve(method)[0], load_backbone(asked.backbone, weights, asked.size))
    segmenter = segmenter.to(accelerator.device)

    # FLOPs per image, counted on a batch of two.
    image, ids, mask = profile.example_batch(segmenter, asked.size, CONTEXT, 2)
    parts = by_part(segmenter, image, ids, mask).values()
    forward = sum(part[2] for part in parts) / 2e9
    backward = sum(part[3] for part in parts) / 2e9

    # Training: the steps between warm-up and those that are traced.
    trace, ticks = _trained(asked, segmenter, accelerator)
    peak = profile.peak(asked.device)
    gaps = [b - a for a, b in pairwise(ticks)][asked.steps // 3 : -TRACED - 1] or [1e9]
    step = median(gaps)

    # Inference.
    segmenter.eval()
    images = torch.randint(0, 256, (asked.batch, asked.size, asked.size, 3), dtype=torch.uint8)
    words = Ready(asked, 1).ids
    infer = middle(lambda: predict(segmenter, images, words, accelerator), asked.device, 4)
    return {
        "kernels": kernels, "facts": precision_facts(accelerator),
        "gflop_forward": forward, "gflop_backward": backward,
        "step_ms": step * 1e3, "step_ms_spread": [min(gaps) * 1e3, max(gaps) * 1e3],
        "train_images_per_s": asked.batch / step,
        "train_tflops": (forward + backward) * asked.batch / step / 1e3,
        "infer_images_per_s": asked.batch / infer,
        "peak_gb": peak.bytes / 1e9, "reserved_gb": None if peak.reserved is None else peak.reserved / 1e9,
        **_traced(asked, trace, f"{method}-{kernels}"),
    }  # fmt: skip


def _trained(asked: Asked, segmenter: Segmenter, accelerator: Any) -> tuple[Any, list[float]]:
    """The profiler's trace of the last steps, and the time of each step."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if asked.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    trace = torch.profiler.profile(activities=activities, acc_events=True)
    ticks: list[float] = []

    def on_step(log: StepLog) -> None:
        # Tracing begins once the device has done all that was launched before.
        if log.step == asked.steps - TRACED - steps_in_flight(asked.device):
            profile.now(asked.device)
            trace.start()
        ticks.append(time.perf_counter())

    profile.reset_peak(asked.device)
    with TemporaryDirectory() as folder:
        samples: Any = Ready(asked, asked.batch * asked.steps)
        fit(
            segmenter, samples, load_recipe("paper", [f"batch={asked.batch}", "epochs=1"]), accelerator, seed=0,
            workers=asked.workers, checkpoint=Checkpoint(Path(folder) / "state", "measure"), checkpoint_seconds=1e9,
            on_step=on_step,
        )  # fmt: skip
    profile.now(asked.device)
    trace.stop()
    return trace, ticks


def _traced(asked: Asked, trace: Any, name: str) -> dict[str, Any]:
    """Kernels, busy time and waits of a step, as the profiler saw them; most expensive operations into a file."""
    cuda = asked.device.type == "cuda"
    events = trace.key_averages()
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    (asked.out / f"top-{name}.txt").write_text(events.table(sort_by=spent, row_limit=25, max_name_column_width=70))
    # On a GPU its kernels count, not the calls of the host.
    kernels = list(events)
    if cuda:
        kernels = [e for e in events if "CUDA" in str(e.device_type)]
    waits = 0
    for event in events:
        if "StreamSynchronize" in event.key or "DeviceSynchronize" in event.key:
            waits += event.count
    return {
        "kernels_per_step": sum(e.count for e in kernels) / TRACED,
        "busy_ms": sum(getattr(e, spent) for e in kernels) / TRACED / 1e3,
        "stream_waits_per_step": waits / TRACED,
    }


def main() -> None:
    """Measure and write measure.json; print a table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--kernels", default="fused,low_memory")
    parser.add_argument("--quick", action="store_true", help="the tiny backbone, few steps")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"))
    given = parser.parse_args()
    # The sizes of a real run, or of a try.
    given.out.mkdir(parents=True, exist_ok=True)
    chosen = ("tiny", 64, 2, 8, 0) if given.quick else ("ViT-B-16-quickgelu", 416, 32, 24, 8)
    asked = Asked(torch.device(given.device), given.precision, *chosen, given.out)
    card = torch.cuda.get_device_name(asked.device) if asked.device.type == "cuda" else "cpu"
    machine = {
        "device": card,
        "torch": torch.__version__,
        "precision": asked.precision,
        "backbone": asked.backbone,
        "batch": asked.batch,
        "size": asked.size,
    }
    rates = ceilings(asked)
    result: dict[str, Any] = {**machine, "ceilings": rates, "loader": loader_rate(asked), "methods": {}}
    print(*(f"{name} {value}" for name, value in machine.items()), sep=", ")
    print(*(f"{name} {value:.4g}" for name, value in rates.items()), f"loader {result['loader']:.4g}")
    print(f"{'method':<18}", *(f"{title:>9}" for title in COLUMNS), "    share")
    # Method by method; what is measured so far is on disk after each.
    for method in given.methods:
        for kernels in given.kernels.split(","):
            row = _tried(asked, method, kernels)
            result["methods"][f"{method}-{kernels}"] = row
            (given.out / "measure.json").write_text(json.dumps(result, indent=1))
            if "failed" in row:
                print(f"{method}-{kernels}: {row['failed']}")
                continue
            share = row["train_tflops"] / result["ceilings"][f"{asked.precision}_tflops".replace("fp16", "bf16")]
            values = (f"{row[name]:>9.1f}" for name in COLUMNS.values())
            print(f"{method + '-' + kernels:<18}", *values, f"{share:>9.2f}", flush=True)


def _tried(asked: Asked, method: str, kernels: str) -> dict[str, Any]:
    """What `measure` gives, or why it failed: the next one is measured all the same."""
    try:
        return measure(asked, method, kernels)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


if __name__ == "__main__":
    main()
