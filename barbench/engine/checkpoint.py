"""The complete state of a training in progress, in one file that is written atomically.

Only what training changes is saved: frozen weights come from the backbone again. Loading runs no code from the file.
"""

import pickle
import random
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from barbench.files import atomic_file, set_aside
from barbench.models.segmenter import Segmenter

# Errors of a file that is damaged, or intact but not written by `Checkpoint.save`.
_UNREADABLE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, RuntimeError),
    *(KeyError, IndexError, TypeError, ValueError, AttributeError),
)


class Epoch(TypedDict):
    """One finished epoch.

    Attributes:
        epoch: counted from 1.
        loss: mean over its steps.
        lr: learning rate of its last step.
        seconds: its training time.
        steps: number of steps.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float
    steps: int


class Progress(NamedTuple):
    """How far a training has come.

    Attributes:
        step: steps done of the whole training.
        loss_sum: over the steps of the unfinished epoch.
        seconds: training time so far, summed over interrupted runs.
        history: the finished epochs.
        skipped: steps so far that changed nothing, because a gradient overflowed in fp16.
        curve: mean losses of equal numbers of steps, see `training_state`; None in older files, which have none.
        curve_sum: of the losses since the last of them.
    """

    step: int
    loss_sum: float
    seconds: float
    history: list[Epoch]
    skipped: int = 0
    curve: list[float] | None = None
    curve_sum: float = 0.0


def tuned_state(segmenter: Segmenter) -> dict[str, Tensor]:
    """Copies of all parameters and buffers by name, on the CPU, without the frozen parameters."""
    frozen = {name for name, p in segmenter.named_parameters() if not p.requires_grad}
    state = {}
    for name, value in segmenter.state_dict().items():
        if name not in frozen:
            state[name] = value.detach().cpu().clone()
    return state


def load_tuned(segmenter: Segmenter, state: dict[str, Tensor]) -> None:
    """Load what `tuned_state` gave, in place.

    Args:
        segmenter: of the same method, backbone and head.
        state: tensors by name.

    Raises:
        ValueError: that names tensors that are missing or left over.
    """
    wanted = tuned_state(segmenter).keys()
    if missing := wanted - state.keys():
        raise ValueError(f"the weights lack {_first_names(missing)}")
    if extra := state.keys() - wanted:
        raise ValueError(f"the weights hold {_first_names(extra)}, which the model lacks")
    segmenter.load_state_dict(state, strict=False)


def _first_names(names: set[str]) -> str:
    """At most five of them, in order."""
    shown = sorted(names)[:5]
    if len(names) > len(shown):
        shown.append("…")
    return ", ".join(shown)


class Checkpoint:
    """One file for one run.

    Args:
        path: of the file.
        identity: the cell's id, so that no other cell's state is ever loaded.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self.set_aside: Path | None = None

    def save(
        self, accelerator: Accelerator, segmenter: Segmenter, optimizer: torch.optim.Optimizer, progress: Progress
    ) -> None:
        """Write the state atomically. To be called by all processes; the first one writes.

        If the file cannot be written, an OSError, the old one stays.
        """
        # Each process has generators of its own.
        generators = gather_object([_generators(accelerator.device)])
        if not accelerator.is_main_process:
            return
        scaler = {} if accelerator.scaler is None else accelerator.scaler.state_dict()
        # Without frozen weights, which come from the backbone again.
        state = {
            "identity": self.identity,
            "progress": progress._asdict(),
            "weights": tuned_state(segmenter),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler,
            "generators": generators,
        }
        with atomic_file(self.path) as file:
            _write(state, file)

    def load(self, accelerator: Accelerator, segmenter: Segmenter, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Restore weights, optimizer, loss scaler and random generators. To be called by all processes.

        A file that is damaged or of another cell is set aside under another name, never overwritten. If one process
        cannot read it, none continues from it: None, with nothing changed.
        """
        if not any(gather_object([self.path.exists()])):
            return None
        # Reading may fail half-way: what is there now is kept until all processes have read the file.
        weights = tuned_state(segmenter)
        moments = deepcopy(optimizer.state_dict())
        generators = _generators(accelerator.device)
        progress: Progress | None
        try:
            progress = self._restore(accelerator, segmenter, optimizer)
        except _UNREADABLE:
            progress = None
        if all(gather_object([progress is not None])):
            return progress
        # One process could not read it: all of them restore what they had.
        load_tuned(segmenter, weights)
        optimizer.load_state_dict(moments)
        _set_generators(generators, accelerator.device)
        if accelerator.is_main_process:
            [self.set_aside] = set_aside(self.path)
        return None

    def _restore(self, accelerator: Accelerator, segmenter: Segmenter, optimizer: torch.optim.Optimizer) -> Progress:
        """Restore everything; may raise one of _UNREADABLE half-way."""
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        # A checkpoint of another cell, or of another number of processes, cannot be continued.
        if state["identity"] != self.identity:
            raise ValueError(f"it belongs to cell {state['identity']}")
        if len(state["generators"]) != accelerator.num_processes:
            raise ValueError(f"it was written by {len(state['generators'])} processes")
        progress = Progress(**state["progress"])
        load_tuned(segmenter, state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        _set_generators(state["generators"][accelerator.process_index], accelerator.device)
        return progress


def _write(state: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save`, whose own error hides the file's: a full disk is raised as the OSError that it is."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _generators(device: torch.device) -> dict[str, Any]:
    """The state of every random generator that training on `device` uses, as tensors and plain values."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    # As int64, which every torch can store.
    numpy_keys = torch.from_numpy(np.asarray(keys).astype(np.int64))
    cuda = []
    if device.type == "cuda":
        cuda.append(torch.cuda.get_rng_state(device))
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "numpy": [str(name), numpy_keys, int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def _set_generators(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    cuda = state["cuda"]
    if cuda and device.type == "cuda":
        # One state is the training device's own; older files hold those of all GPUs that were visible.
        index = device.index or 0
        torch.cuda.set_rng_state(cuda[min(index, len(cuda) - 1)], device)
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
