"""Cells as jobs of Slurm, all in one array, through submitit (extra `slurm`).

A job that hears of its time limit, or is preempted, keeps a checkpoint and puts itself into the queue again. No
accounting of Slurm's is asked: what a cell said is in the run's folder, and one `squeue` for all jobs tells the rest.
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

from barbench.benchmarks.execution.attempt import Wish, perform, tell_end
from barbench.benchmarks.execution.executors.base import Attempt, Ended, State, Told
from barbench.benchmarks.execution.executors.files import Followed
from barbench.benchmarks.execution.host.variables import Slot
from barbench.benchmarks.execution.run_folder import LOGS, RunFolder
from barbench.errors import UsageError
from barbench.results.record import AttemptLog
from barbench.spec.cluster import Cluster

LOOK_SECONDS = 15.0  # between two calls of squeue: Slurm's controller serves everybody
QUEUED: Final = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED", "STOPPED"}
RUNNING: Final = {"RUNNING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT"}
ENDING: Final = {"COMPLETING"}
NEVER: Final = {
    *("PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "BadConstraints"),
    *("InvalidAccount", "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed"),
}
STUCK = "it was stopped twice before its first step: the time limit is shorter than the start takes"


class Slurm:
    """Executor of a cluster with Slurm.

    Args:
        cluster: what a cell asks of it.
        gpus: of a cell.
        cells_at_once: of the array that run at a time at most; None: as many as Slurm likes.

    Raises:
        UsageError: without sbatch or submitit.
    """

    name: ClassVar[str] = "slurm"
    settles_on_host: ClassVar[bool] = True
    default_retries: ClassVar[int] = 2  # hosts come and go
    detaches: ClassVar[bool] = True

    def __init__(self, cluster: Cluster, gpus: int, cells_at_once: int | None = None) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UsageError("--executor slurm: there is no sbatch on this host; give the command on a login node")
        try:
            self._submitit: Any = import_module("submitit")
        except ImportError:
            raise UsageError("--executor slurm needs submitit: pip install 'barbench[slurm]'") from None
        self.cluster, self.gpus, self.slots = cluster, gpus, cells_at_once
        self._jobs: dict[str, str] = {}  # of cells that have not ended
        self._looked = 0.0
        self._gone: set[str] = set()

    def start(self, run: RunFolder, lock: int) -> None:
        """Jobs know the run by its folder alone."""
        self._run, self._followed = run, Followed(run)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """All as one array.

        Args:
            attempts: one at each cell.

        Raises:
            UsageError: with what sbatch said, where it takes none of them.
        """
        if not attempts:
            return
        executor = self._submitit.SlurmExecutor(folder=self._run.path / LOGS, max_num_timeout=10**6)
        try:
            executor.update_parameters(**self.parameters())
            # submitit repeats there what sbatch said
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(Task(attempt.model_dump_json())) for attempt in attempts]
        except (ValueError, subprocess.CalledProcessError, self._submitit.core.utils.FailedJobError) as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it said nothing"]
            told = next((line for line in said if "error" in line), said[-1])
            raise UsageError(f"sbatch refuses the cells: {told}") from None
        if reason := never(jobs[0].job_id):
            _call("scancel", *(job.job_id for job in jobs))
            raise UsageError(f"Slurm would never begin such a cell ({reason}); sinfo shows what partitions have")
        self._jobs |= {a.cell: job.job_id for a, job in zip(attempts, jobs, strict=True)}
        self._run.keep_handles({a.cell: {"job": self._jobs[a.cell], "number": a.number} for a in attempts})

    def parameters(self) -> dict[str, Any]:
        """As submitit takes them."""
        cluster = self.cluster
        named = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "gres")
        fields: dict[str, Any] = {name: value for name in named if (value := getattr(cluster, name)) is not None}
        extra = {"requeue": True, **{name.replace("_", "-"): value for name, value in cluster.extra.items()}}
        if cluster.memory_gb is not None:
            fields["mem"] = f"{round(1024 * cluster.memory_gb)}M"
        if self.gpus and cluster.gres is None:
            fields["gpus_per_node"] = self.gpus
        return fields | {
            "job_name": f"barbench-{self._run.id}",
            "time": cluster.minutes,
            "cpus_per_task": cluster.cpus,
            "nodes": 1,
            "ntasks_per_node": 1,
            "array_parallelism": self.slots or 10**6,
            "signal_delay_s": cluster.signal_before,
            "setup": list(cluster.setup),
            "additional_parameters": extra,
        }

    def adopt(self) -> dict[str, int]:
        """What an earlier process of this run submitted.

        Returns:
            The number of the attempt at each cell whose job waits or runs, by the cell's id.

        Raises:
            UsageError: where Slurm does not answer.
        """
        handles = self._run.handles
        states = squeue([handle["job"] for handle in handles.values()])
        if states is None:
            raise UsageError("squeue does not answer; give the command again later")
        found = {}
        for cell, handle in handles.items():
            ended = self._followed.skip(cell)
            over = ended is not None and ended.number >= handle["number"]
            if not over and states.get(handle["job"]) in QUEUED | RUNNING | ENDING:
                self._jobs[cell], found[cell] = handle["job"], int(handle["number"])
        return found

    def poll(self, seconds: float) -> list[Told]:
        """What the cells said; of those that are gone without a word, what Slurm knows."""
        found = self._followed.new(self._jobs)
        for cell, what in found:
            if isinstance(what, Ended):
                self._jobs.pop(cell, None)
        if time.monotonic() - self._looked > LOOK_SECONDS and self._jobs:
            self._looked = time.monotonic()
            found += self._missed()
        if not found:
            time.sleep(seconds)
        return found

    def _missed(self) -> list[Told]:
        """A file may be seen late: a cell counts as gone when Slurm says so twice."""
        states = squeue(list(self._jobs.values()))
        if states is None:
            return []
        over = {c: states.get(job, "") for c, job in self._jobs.items()}
        over = {c: state for c, state in over.items() if state not in QUEUED | RUNNING | ENDING}
        twice = {c: state for c, state in over.items() if c in self._gone}
        self._gone = over.keys() - twice.keys()
        for cell in twice:
            del self._jobs[cell]
        numbers = {cell: int(self._run.handles[cell]["number"]) for cell in twice}
        return [(cell, _end_of(state, numbers[cell])) for cell, state in twice.items()]

    def alive(self) -> set[str]:
        """As far as is known."""
        return set(self._jobs)

    def stop(self) -> None:
        """Those that wait are cancelled; those that run look at the run's folder."""
        self._run.ask_to_stop()
        self.cancel_waiting(list(self._jobs.values()))
        self._looked = 0.0

    def close(self) -> None:
        """Whatever is left, because nobody wants to wait for its checkpoint."""
        if self._jobs:
            _call("scancel", *self._jobs.values())

    @staticmethod
    def states(jobs: Sequence[str]) -> dict[str, State]:
        """As one `squeue` has them; none where it does not answer."""
        found = squeue(jobs) or {}
        return {job: _state_of(found[job]) for job in jobs if job in found}

    @staticmethod
    def cancel_waiting(jobs: Sequence[str]) -> None:
        """Those that run are not touched."""
        if jobs:
            _call("scancel", "--state=PENDING", *jobs)


def squeue(jobs: Sequence[str]) -> dict[str, str] | None:
    """The state of each job that Slurm still knows, by its id, in one call for all; None where Slurm did not answer."""
    if not jobs:
        return {}
    arrays = sorted({job.partition("_")[0] for job in jobs})
    command = ["squeue", "-h", "-r", "-t", "all", "-o", "%i %T", "-j", ",".join(arrays)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) >= 2)


def never(job: str) -> str:
    """Why a job that was just submitted will wait for ever; empty where it need not. Most clusters take such a job."""
    command = ["squeue", "-h", "-o", "%r", "-j", job.partition("_")[0]]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        reasons = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split()
        return next((reason for reason in reasons if reason in NEVER), "")
    return ""


def _state_of(state: str) -> State:
    if state.startswith(("PENDING", "REQUEUE")):
        return "waiting"
    return "running" if state in {*RUNNING, *ENDING, "SUSPENDED"} else "gone"


def _call(*command: str) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, capture_output=True, timeout=60, check=False)


def _end_of(state: str, number: int) -> Ended:
    if state == "OUT_OF_MEMORY":
        return Ended("out-of-memory", "Slurm ended the job for want of memory", number)
    if state == "CANCELLED":
        return Ended("stopped", "its job was cancelled", number)
    return Ended("lost", f"its job is gone ({state or 'Slurm does not know it any longer'})", number)


class Task:
    """What a job calls: one attempt. It holds text alone, so that its pickle depends on no version of anything."""

    def __init__(self, attempt: str) -> None:
        self.attempt = attempt

    def __call__(self) -> str:
        """Run the cell, and put the job into the queue again where its time, not the cell, was over."""
        attempt, wish = Attempt.model_validate_json(self.attempt), Wish()

        def hear(number: int, frame: FrameType | None) -> None:
            wish.stop.set()

        for number in (signal.SIGTERM, signal.SIGUSR2):  # in place of submitit's, which only notes the first
            signal.signal(number, hear)
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "0"))
        ended = perform(attempt, wish, slot=Slot(cores=cores), grace=3600.0)  # Slurm kills it where it takes too long
        if ended.how == "stopped" and wish.stop.is_set() and not attempt.folder.asked_to_stop(attempt.cell):
            if stuck(attempt):
                ended = Ended("failed", STUCK, attempt.number)
            elif requeue():
                attempt.folder.events(attempt.cell).add({"event": "note", "text": "its time was over; it queues again"})
                return "requeued"
        tell_end(attempt, ended)
        return ended.how


def stuck(attempt: Attempt) -> bool:
    """Whether the last two attempts were stopped before they had done a step."""
    logs: Sequence[AttemptLog] = attempt.job.read_attempts()[-2:]
    return len(logs) == 2 and all(log.how == "stopped" and log.steps is None for log in logs)


def requeue() -> bool:
    """Put this job into the queue again; False where it was cancelled. Slurm would count it as done otherwise."""
    variables: Mapping[str, str] = os.environ
    job = variables["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in variables:
        job = f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
    if (squeue([job]) or {}).get(job, "RUNNING") != "RUNNING":
        return False
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=60)
    return done.returncode <= 0  # it may be ended by the very signal that it makes Slurm send to this job
