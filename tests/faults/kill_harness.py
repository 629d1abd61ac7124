"""Kill a run (-9) at chosen moments, start it again, and compare what it leaves with a run that nobody disturbed.

`python -m tests.faults.kill_harness FOLDER BACKBONE KILLS SEED SLOTS` prints a JSON line for each kill and one at the
end. With two slots both cells of the matrix are under way at the same time.
"""

import contextlib
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil
import torch
from safetensors.numpy import load_file

from barbench.results.record import Record
from tests.faults import matrix
from tests.faults.folder_watcher import Change, Watcher

Target = Literal["group", "runner", "workers", "one worker"]
PHASES = ("data", "loading", "training", "checkpoint", "evaluation", "record")
ENDS_WITHIN = 20.0  # seconds that a worker may outlive its runner, on a busy machine


class Point(NamedTuple):
    """The `nth` moment of a phase, and `delay` seconds more."""

    phase: str
    nth: int
    delay: float
    target: Target


class Life(NamedTuple):
    """How a process ended: at the point, or on its own with a code; and whether the matrix was done then."""

    killed: bool
    code: int | None


def choose(phase: str, rng: random.Random) -> Point:
    """A random point of a phase; writing is quick, so that its delays are."""
    most = {"data": 24, "loading": 2, "training": 5, "checkpoint": 6, "evaluation": 3, "record": 6}[phase]
    longest = {"data": 0.01, "loading": 0.5, "training": 0.05, "checkpoint": 0.004, "evaluation": 0.1, "record": 0.004}
    delay = rng.choice([0.0, rng.uniform(0, longest[phase])])
    return Point(phase, rng.randint(1, most), delay, rng.choice(["group", "runner", "workers", "one worker"]))


def is_moment(phase: str, what: dict[str, Any] | Change) -> bool:
    """Whether an event, or a change in the results folder, is a moment of the phase."""
    if isinstance(what, Change):
        checkpoint = "checkpoint.pt" in what.name
        if phase == "checkpoint":
            return checkpoint and what.kind != "delete"
        wanted = checkpoint and what.kind == "delete" and not what.name.startswith(".")
        return phase == "record" and (wanted or (not checkpoint and what.kind != "delete" and "--seed" in what.name))
    name = str(what.get("name", ""))
    return {
        "data": what["event"] == "drawing",
        "loading": what["event"] == "phase" and name in ("loading", "profiling"),
        "training": what["event"] == "step",
        "evaluation": what["event"] == "phase" and name.startswith("evaluating"),
    }.get(phase, False)


def live(work: Path, backbone: Path, slots: int, point: Point | None) -> Life:
    """One life of the run, ended at `point` if it comes."""
    folders = [work / "results", *(job.scratch for job in matrix.jobs(work, backbone))]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    watcher, (read, write) = Watcher(folders), os.pipe()
    runner = os.fork()
    if runner == 0:
        _be_runner(work, backbone, slots, write)
    os.close(write)
    seen = 0
    try:
        for what in _happenings(read, watcher):
            if point is None or not is_moment(point.phase, what):
                continue
            seen += 1
            if seen == point.nth:
                time.sleep(point.delay)
                kill(runner, point.target)
        _, status = os.waitpid(runner, 0)
    finally:
        watcher.close()
        os.close(read)
    killed = point is not None and seen >= point.nth
    return Life(killed, None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status))


def _be_runner(work: Path, backbone: Path, slots: int, events: int) -> None:
    """In the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(events, 1)
        os.dup2(os.open(work / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.close(events)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        code = matrix.run(work, backbone, slots)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _happenings(read: int, watcher: Watcher) -> Iterator[dict[str, Any] | Change]:
    """Events and changes in the order of their arrival, until the runner is gone."""
    buffer = b""
    while True:
        ready, _, _ = select.select([read, watcher], [], [], 300)
        assert ready, "the run says nothing for five minutes"
        if watcher in ready:
            yield from watcher.read()
        if read in ready:
            data = os.read(read, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            yield from map(json.loads, lines)


def kill(runner: int, target: Target) -> None:
    """SIGKILL; the worker must end with its runner."""
    workers = psutil.Process(runner).children(recursive=True)
    victims = [] if target == "runner" else [w.pid for w in workers[: 1 if target == "one worker" else None]]
    if not victims or target == "group":
        victims = [runner, *victims]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    if runner in victims:
        _, alive = psutil.wait_procs(workers, timeout=ENDS_WITHIN)
        assert not alive, "the worker outlives its runner"


def check_whole(results: Path) -> None:
    """After a kill, whatever has its final name is whole."""
    for path in results.glob("*.json"):
        Record.model_validate_json(path.read_bytes())
    for path in results.glob("*.npz"):
        with np.load(path) as arrays:
            assert all(len(arrays[name]) for name in arrays)
    for path in results.rglob("checkpoint.pt"):
        assert torch.load(path, weights_only=True)["progress"]["step"] > 0
    for path in results.rglob("tuned.safetensors"):
        load_file(path)


def outcome(work: Path) -> dict[str, Any]:
    """Everything in results and cache, by name: what must be the same however often a run was killed."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file() and p.name not in (".lock", "stderr")):
        name = str(path.relative_to(work))
        if path.suffix == ".json" and path.parent.name == "results":
            found[name] = measured(Record.model_validate_json(path.read_bytes()))
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: (str(arrays[key].dtype), arrays[key].tobytes().hex()) for key in arrays}
        else:
            found[name] = path.read_bytes().hex()
    return found


def measured(record: Record) -> dict[str, Any]:
    """A record without what depends on the clock and the machine's load."""
    fields = record.model_dump(
        mode="json", exclude={"timings", "environment", "profile", "history", "attempts", "finished"}
    )
    assert record.profile is not None
    fields["profile"] = record.profile.model_dump(include={"flops_forward", "saved_bytes", "batch"})
    return fields | {"history": [(h.epoch, h.loss, h.lr, h.steps) for h in record.history]}


def use(work: Path) -> Path:
    """An empty folder, with the cache inside it."""
    work.mkdir(parents=True)
    os.environ["BARBENCH_CACHE"] = str(work / "cache")
    return work


def episode(work: Path, backbone: Path, slots: int, phases: list[str], rng: random.Random) -> Iterator[Point]:
    """Kill one run in each of `phases` in turn, then let it end; the points at which it was killed."""
    for phase in phases:
        point = choose(phase, rng)
        life = live(work, backbone, slots, point)
        check_whole(work / "results")
        if life.killed:
            yield point
        elif life.code == 0:
            break
    code = live(work, backbone, slots, None).code
    assert code == 0, f"ended with {code}: {(work / 'stderr').read_text()[-2000:]}"


def main(folder: Path, backbone: Path, kills: int, seed: int, slots: int) -> None:
    torch.set_num_threads(1)
    rng, counts = random.Random(seed), Counter[str]()
    calm = use(folder / "calm")
    assert live(calm, backbone, 1, None).code == 0, (calm / "stderr").read_text()[-2000:]
    expected, episodes = outcome(calm), 0
    while counts.total() < kills:
        work = use(folder / f"episode-{episodes}")
        later = [p for p in PHASES[1:] if kills > 10 or counts[p] == 0] * (2 if kills > 10 else 1)
        rng.shuffle(later)
        for point in episode(work, backbone, slots, ["data", *later], rng):
            counts[point.phase] += 1
            print(json.dumps(point._asdict()), flush=True)
        found = outcome(work)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        assert not differing, f"episode {episodes} of seed {seed}: {differing}"
        episodes += 1
    print(json.dumps({"kills": dict(counts), "episodes": episodes, "files": len(expected)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
