"""Cells as jobs of Slurm, all in one array, through submitit (extra `slurm`).

A job that reaches its time limit, or is preempted, keeps a checkpoint and requeues itself. Slurm's accounting is not
needed: the events of a cell are in the run's folder, and one `squeue` for all jobs says the rest.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import FrameType
from typing import Any, ClassVar, Final

from barbench.benchmarks.execution.attempt import Attempt, StopRequest, perform, report_end
from barbench.benchmarks.execution.executors.base import CellEvent, EventReader, Executor, Placement, State
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.outcome import Ended
from barbench.benchmarks.execution.run_folder import LOGS, RunFolder
from barbench.errors import UsageError
from barbench.spec.cluster import Cluster

LOOK_SECONDS = 15.0
"""Between two calls of squeue: Slurm's controller serves everybody."""
GRACE_SECONDS: Final = 3600.0
"""That a worker has for its checkpoint; Slurm kills it earlier where it takes too long."""
_QUEUED: Final = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_BEGUN: Final = {"RUNNING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "COMPLETING", "SUSPENDED", "STOPPED"}
_ALIVE: Final = _QUEUED | _BEGUN
_NEVER: Final = {
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "AccountNotAllowed",
    "QOSNotAllowed",
}
"""Reasons of squeue for a job that will never begin."""
_NO_LIMIT: Final = 10**6
_TOO_SHORT: Final = "it was stopped twice before its first step: the time limit is shorter than the start takes"

_TOO_SHORT_TO_SCORE: Final = (
    "after its training began it was stopped four times before another step or score: the time limit is shorter than "
    "the start and one batch take"
)
_IDLE_BEFORE_TRAINING: Final = 2
_IDLE_AT_EVALUATION: Final = 4
"""Attempts in a row that came no further; more where steps are behind the cell, since preemption comes by chance."""


class Slurm(Executor):
    """Executor of a cluster with Slurm.

    Args:
        cells_at_once: of the array that run at a time at most; None: as many as Slurm likes.

    Raises:
        UsageError: without sbatch or submitit.
    """

    name: ClassVar[str] = "slurm"
    settles_on_host: ClassVar[bool] = True
    default_retries: ClassVar[int] = 2  # nodes join and leave
    detaches: ClassVar[bool] = True

    def __init__(self, cluster: Cluster, gpus: int, cells_at_once: int | None = None) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UsageError("--executor slurm: there is no sbatch on this host; give the command on a login node")
        try:
            self._submitit: Any = import_module("submitit")
        except ImportError:
            raise UsageError("--executor slurm needs submitit: pip install 'barbench[slurm]'") from None
        self.cluster = cluster
        self.gpus = gpus
        self.slots = cells_at_once
        self._jobs: dict[str, str] = {}  # of cells that have not ended
        self._looked = 0.0
        self._missing: set[str] = set()  # cells whose job squeue did not have when it was last asked

    @classmethod
    def make(cls, placement: Placement, cluster: Cluster, gpus: int, cells_at_once: int | None) -> "Slurm":
        """One for the cluster, which chooses the slots."""
        return cls(cluster, gpus, cells_at_once)

    def start(self, run: RunFolder, lock: int) -> None:
        """Jobs know the run by its folder alone."""
        self._run = run
        self._events = EventReader(run)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """All as one array; UsageError with sbatch's message where it takes none of them."""
        if not attempts:
            return
        executor = self._submitit.SlurmExecutor(folder=self._run.path / LOGS, max_num_timeout=_NO_LIMIT)
        try:
            executor.update_parameters(**self.parameters())
            # submitit repeats sbatch's message on the standard error
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(Task(attempt.model_dump_json())) for attempt in attempts]
        except (ValueError, subprocess.CalledProcessError, self._submitit.core.utils.FailedJobError) as error:
            raise UsageError(f"sbatch refuses the cells: {_error_line(str(error))}") from None
        reason = _never_begins(jobs[0].job_id)
        if reason:
            _call("scancel", *(job.job_id for job in jobs))
            raise UsageError(f"Slurm would never begin such a cell ({reason}); sinfo shows what partitions have")

        # Another process of this run finds the jobs by these.
        handles = {}
        for attempt, job in zip(attempts, jobs, strict=True):
            self._jobs[attempt.cell] = job.job_id
            handles[attempt.cell] = {"job": job.job_id, "number": attempt.number}
        self._run.keep_handles(handles)

    def parameters(self) -> dict[str, Any]:
        """As submitit takes them."""
        cluster = self.cluster
        # Fields that are not given are left to Slurm.
        fields: dict[str, Any] = {}
        for name in ("partition", "account", "qos", "constraint", "nodelist", "exclude", "gres"):
            value = getattr(cluster, name)
            if value is not None:
                fields[name] = value
        if cluster.memory_gb is not None:
            fields["mem"] = f"{round(1024 * cluster.memory_gb)}M"
        if self.gpus and cluster.gres is None:
            fields["gpus_per_node"] = self.gpus
        extra = {name.replace("_", "-"): value for name, value in cluster.extra.items()}
        return fields | {
            "job_name": f"barbench-{self._run.id}",
            "time": cluster.minutes,
            "cpus_per_task": cluster.cpus,
            "nodes": 1,
            "ntasks_per_node": 1,
            "array_parallelism": self.slots or _NO_LIMIT,
            "signal_delay_s": cluster.signal_before,
            "setup": list(cluster.setup),
            "additional_parameters": {"requeue": True, **extra},
        }

    def adopt(self) -> dict[str, int]:
        """Follow the jobs that wait or run; UsageError where Slurm does not answer."""
        handles = self._run.handles
        states = squeue([handle["job"] for handle in handles.values()])
        if states is None:
            raise UsageError("squeue does not answer; give the command again later")
        # A job may have ended, or reported its end and still be in the queue.
        found = {}
        for cell, handle in handles.items():
            number = int(handle["number"])
            ended = self._events.skip(cell)
            over = ended is not None and ended.number >= number
            if not over and states.get(handle["job"]) in _ALIVE:
                self._jobs[cell] = handle["job"]
                found[cell] = number
        return found

    def poll(self, seconds: float) -> list[CellEvent]:
        """The events of the cells; for jobs that are gone and reported no end, what Slurm knows."""
        found = self._events.new(self._jobs)
        for cell, event in found:
            if isinstance(event, Ended) and event.number >= self._number(cell):
                self._jobs.pop(cell, None)
        # Jobs that died report nothing: squeue says which are gone.
        if time.monotonic() - self._looked > LOOK_SECONDS and self._jobs:
            self._looked = time.monotonic()
            found += self._missed()
        if not found:
            time.sleep(seconds)
        return found

    def _missed(self) -> list[CellEvent]:
        """The ends of jobs that are gone. Files may arrive late, so a job must be missing twice in a row."""
        states = squeue(list(self._jobs.values()))
        if states is None:
            return []
        missing = {}
        # Jobs that are not in the queue now, with what Slurm last said of them.
        for cell, job in self._jobs.items():
            state = states.get(job, "")
            if state not in _ALIVE:
                missing[cell] = state
        # Those that were missing before have ended.
        ends: list[CellEvent] = []
        for cell in missing.keys() & self._missing:
            del self._jobs[cell]
            ends.append((cell, _end_of(missing.pop(cell), self._number(cell))))
        self._missing = set(missing)
        return ends

    def _number(self, cell: str) -> int:
        """Of the attempt that the cell's job was submitted for."""
        return int(self._run.handles[cell]["number"])

    def alive(self) -> set[str]:
        """As far as is known."""
        return set(self._jobs)

    def stop(self) -> None:
        """Cancel the jobs that wait; those that run look at the run's folder."""
        self._run.ask_to_stop()
        self.cancel_waiting(list(self._jobs.values()))
        self._looked = 0.0

    def close(self) -> None:
        """Cancel whatever still runs."""
        if self._jobs:
            _call("scancel", *self._jobs.values())

    @staticmethod
    def states(jobs: Sequence[str]) -> dict[str, State] | None:
        """As one `squeue` has them."""
        found = squeue(jobs)
        if found is None:
            return None
        return {job: _state_of(found.get(job, "")) for job in jobs}

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Jobs that run are not touched."""
        if jobs:
            _call("scancel", "--state=PENDING", *jobs)


def squeue(jobs: Sequence[str]) -> dict[str, str] | None:
    """Slurm's name for the state of each job that it still knows, by its id, in one call; None where it did not
    answer."""
    if not jobs:
        return {}
    # Tasks of an array are asked for by the array.
    arrays = sorted({job.partition("_")[0] for job in jobs})
    command = ["squeue", "-h", "-r", "-t", "all", "-o", "%i %T", "-j", ",".join(arrays)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    # Jobs that Slurm has forgotten are no failure of the call: those that it knows are in its answer.
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    states = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) >= 2:
            states[words[0]] = words[1]
    return states


def _state_of(state: str) -> State:
    if state in _QUEUED:
        return "waiting"
    return "running" if state in _BEGUN else "gone"


def _error_line(message: str) -> str:
    """The line of sbatch's message that says `error`, else its last."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for line in lines:
        if "error" in line:
            return line
    return lines[-1] if lines else "no output"


def _never_begins(job: str) -> str:
    """Why a job that was just submitted will wait for ever, or nothing. Most clusters accept such a job."""
    command = ["squeue", "-h", "-o", "%r", "-j", job.partition("_")[0]]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        reasons = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split()
        return next((reason for reason in reasons if reason in _NEVER), "")
    return ""


def _call(*command: str) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, capture_output=True, timeout=60, check=False)


def _end_of(state: str, number: int) -> Ended:
    if state == "OUT_OF_MEMORY":
        return Ended("out-of-memory", "Slurm ended the job: out of memory", number)
    if state == "CANCELLED":
        return Ended("stopped", "its job was cancelled", number)
    return Ended("lost", f"its job is gone ({state or 'Slurm no longer knows it'})", number)


class Task:
    """What a job calls: one attempt. It holds text alone, so that its pickle depends on no version of anything."""

    def __init__(self, attempt: str) -> None:
        self.attempt = attempt

    def __call__(self) -> str:
        """Run the cell, and requeue the job where its time, not the cell, was over."""
        attempt = Attempt.model_validate_json(self.attempt)
        request = StopRequest()

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            request.stop.set()

        for number in (signal.SIGTERM, signal.SIGUSR2):  # in place of submitit's, which only notes the first
            signal.signal(number, ask_to_stop)
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "0"))
        ended = perform(attempt, request, slot=Slot(cores=cores), grace=GRACE_SECONDS)

        # A signal that no user asked for: the time limit, or preemption.
        if ended.how == "stopped" and request.stop.is_set() and not attempt.folder.asked_to_stop(attempt.cell):
            if reason := why_stuck(attempt):
                ended = Ended("failed", reason, attempt.number)
            elif requeue():
                attempt.folder.events(attempt.cell).add({"event": "note", "text": "its time was over; it is requeued"})
                return "requeued"
        report_end(attempt, ended)
        return ended.how


def why_stuck(attempt: Attempt) -> str | None:
    """Why the attempts at a cell come no further: the last ones were stopped before a step or a score."""
    logs = attempt.job.read_attempts()
    # How many of the last attempts came no further.
    idle = 0
    for log in reversed(logs):
        if log.how != "stopped" or log.steps is not None or log.scored is not None:
            break
        idle += 1
    # A cell that never began needs fewer attempts to tell.
    began = any(log.steps is not None or log.scored is not None for log in logs)
    if not began and idle >= _IDLE_BEFORE_TRAINING:
        return _TOO_SHORT
    if idle >= _IDLE_AT_EVALUATION:
        return _TOO_SHORT_TO_SCORE
    return None


def requeue() -> bool:
    """Put this job into the queue again; False where it was cancelled. Slurm would count it as done otherwise."""
    variables: Mapping[str, str] = os.environ
    job = variables["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in variables:
        job = f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
    # Under a time limit or preemption it is RUNNING; after scancel it is COMPLETING by now.
    states = squeue([job]) or {}
    if states.get(job, "RUNNING") != "RUNNING":
        return False
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=60)
    return done.returncode <= 0  # the signal that it makes Slurm send to this job may end it


EXECUTOR: type[Executor] = Slurm
