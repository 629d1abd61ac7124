"""A stand-in for Slurm's commands: jobs are processes of this host, their states files in $FAKE_SLURM.

`python fake_slurm.py sbatch|srun|squeue|scontrol|scancel ARGUMENTS`; `install` puts them on the PATH.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL")


def install(folder: Path, environment: Any) -> None:
    """`environment` is a monkeypatch."""
    (folder / "bin").mkdir(parents=True)
    for name in ("sbatch", "srun", "squeue", "scontrol", "scancel"):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        script.chmod(0o755)
    environment.setenv("FAKE_SLURM", str(folder))
    environment.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """By id, as squeue has them."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.job"))}


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def write(path: Path, **changes: Any) -> None:
    whole = (read(path) if path.exists() else {}) | changes
    path.with_suffix(".new").write_text(json.dumps(whole))
    path.with_suffix(".new").rename(path)


def flag(folder: Path, job: str, name: str, value: object = "") -> None:
    """Ask the process that looks after a job: `cancel`, `requeue`, or `signal` with its number."""
    (folder / f"{job}.{name}").write_text(str(value))


def sbatch(folder: Path, script: str) -> None:
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    with (folder / "sbatch.log").open("a") as log:
        print(json.dumps(options), file=log)
    if options.get("partition") == "nowhere":
        sys.exit("sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed")
    number = 100 + len(list(folder.glob("*.sh")))
    (folder / f"{number}.sh").write_text(text)
    reason = "PartitionConfig" if int(options.get("cpus-per-task", 1)) > 64 else "None"
    first, last, limit = map(int, re.findall(r"\d+", options.get("array", "0-0%1")))
    for index in range(first, last + 1):
        name = f"{number}_{index}" if "array" in options else str(number)
        write(
            folder / f"{name}.job",
            state="PENDING",
            array=number,
            index=index,
            limit=limit,
            options=options,
            reason=reason,
        )
        subprocess.Popen(
            [sys.executable, __file__, "serve", name],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    print(f"Submitted batch job {number}")


def serve(folder: Path, name: str) -> None:
    """Look after one job to its end."""
    path, restarts = folder / f"{name}.job", 0
    while True:
        while others(folder, name) >= read(path)["limit"] or read(path)["reason"] != "None":
            if (folder / f"{name}.cancel").exists():
                return write(path, state="CANCELLED")
            time.sleep(0.05)
        if (folder / f"{name}.cancel").exists():
            return write(path, state="CANCELLED")
        write(path, state="RUNNING")
        code = follow(folder, name, restarts)
        if (folder / f"{name}.requeue").exists():
            (folder / f"{name}.requeue").unlink()
            write(path, state="PENDING")
            restarts += 1
            continue
        cancelled = (folder / f"{name}.cancel").exists()
        return write(path, state="CANCELLED" if cancelled else "COMPLETED" if code == 0 else "FAILED")


def others(folder: Path, name: str) -> int:
    """Jobs of the same array that run, or come before this one in the queue."""
    mine = read(folder / f"{name}.job")
    same = [j for n, j in jobs(folder).items() if j["array"] == mine["array"] and n != name]
    return sum(j["state"] in ("RUNNING", "COMPLETING") for j in same) + sum(
        j["state"] == "PENDING" and j["index"] < mine["index"] for j in same
    )


def follow(folder: Path, name: str, restarts: int) -> int:
    """Run the script once; hand on signals, to all processes of the step as Slurm does."""
    job = read(folder / f"{name}.job")
    variables = {"JOB_ID": f"{1000 + job['index'] + job['array']}", "RESTART_COUNT": str(restarts), "NTASKS": "1"}
    variables |= {"JOB_NUM_NODES": "1", "NODEID": "0", "PROCID": "0", "LOCALID": "0", "JOB_NODELIST": "node1"}
    variables["CPUS_PER_TASK"] = job["options"].get("cpus-per-task", "1")
    if "_" in name:
        variables |= {"ARRAY_JOB_ID": str(job["array"]), "ARRAY_TASK_ID": str(job["index"])}
    else:
        variables["JOB_ID"] = name
    environment = os.environ | {f"SLURM_{key}": value for key, value in variables.items()}
    process = subprocess.Popen(["bash", str(folder / f"{job['array']}.sh")], env=environment, start_new_session=True)
    asked = False
    while process.poll() is None:
        sent = folder / f"{name}.signal"
        if sent.exists():
            number = int(sent.read_text())
            sent.unlink()
            send(process.pid, number)
        if not asked and ((folder / f"{name}.cancel").exists() or (folder / f"{name}.requeue").exists()):
            asked = True
            write(folder / f"{name}.job", state="COMPLETING")
            send(process.pid, signal.SIGTERM)
        time.sleep(0.05)
    return process.returncode


def send(batch: int, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(batch).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)


def srun(*arguments: str) -> None:
    rest = list(arguments)
    while rest[0].startswith("-"):
        if rest.pop(0) in ("--output", "--error"):
            rest.pop(0)
    where = Path(os.environ["FAKE_SLURM"]) / f"{os.environ['SLURM_JOB_ID']}.out"
    output = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execvp(rest[0], rest)


def squeue(folder: Path, form: str, arrays: str) -> None:
    wanted = arrays.split(",")
    for name, job in jobs(folder).items():
        if name in wanted or str(job["array"]) in wanted:
            print(*([job["reason"]] if form == "%r" else [name, job["state"]]))


def main(name: str, *arguments: str) -> None:
    folder = Path(os.environ["FAKE_SLURM"])
    with (folder / "calls.log").open("a") as log:
        print(shlex.join([name, *arguments]), file=log)
    if name == "sbatch":
        sbatch(folder, arguments[-1])
    elif name == "serve":
        serve(folder, arguments[0])
    elif name == "srun":
        srun(*arguments)
    elif name == "squeue":
        squeue(folder, arguments[arguments.index("-o") + 1], arguments[-1])
    elif name == "scontrol" and arguments[0] == "requeue":
        flag(folder, arguments[1], "requeue")
    elif name == "scancel":
        waiting = "--state=PENDING" in arguments
        for job in arguments[waiting:]:
            if read(folder / f"{job}.job")["state"] == "PENDING" or not waiting:
                flag(folder, job, "cancel")


if __name__ == "__main__":
    main(*sys.argv[1:])
