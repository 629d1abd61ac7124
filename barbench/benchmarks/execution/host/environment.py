"""Where a cell ran: packages, device, the code. No paths and no names of machines or people."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import JsonValue

from barbench.benchmarks.execution.host.source import code_hash, own_code
from barbench.files import host_id

PACKAGES = ("barbench", "torch", "open_clip_torch", "accelerate", "numpy", "opencv-python-headless", "pycocotools")


def environment(device: torch.device, threads: int, method: str = "") -> dict[str, JsonValue]:
    """For the record: enough to explain why two numbers differ."""
    # All GPUs that the process sees: a cell of several processes computes on each.
    gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    facts: dict[str, JsonValue] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "device": device_name(str(device)),
        "gpus": [torch.cuda.get_device_name(number) for number in gpus],
        "threads": threads,
        "niceness": os.nice(0),
        "host": host_id(),
        "code": code_hash(),
    }
    # A method of the user's own, with barbench's code and without it.
    if ":" in method:
        facts["method_code"] = code_hash(method)
    own = own_code(method)
    if own:
        facts["own_code"] = own
    return facts | _commit()


def device_name(device: str) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> dict[str, JsonValue]:
    """The commit of a checkout that barbench runs from, and whether it was changed since; nothing for an installed
    copy."""
    folder = Path(__file__).resolve().parents[4]
    if not (folder / ".git").exists():
        return {}
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
