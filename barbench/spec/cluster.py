"""What a cell asks of a cluster: `--cluster partition=gpu,minutes=480`, or the same fields in a YAML file."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from barbench.errors import UsageError
from barbench.spec.text import explain, split_list, split_pair
from barbench.values import read_yaml


class Cluster(BaseModel):
    """Of one cell, except `address` and `autoscale`. GPUs are not here: a cell has one per process, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(default=4, ge=1, description="cores of a cell")
    memory_gb: float | None = Field(default=None, gt=0, description="None: what the cluster gives by itself")
    # Slurm
    minutes: int = Field(default=480, ge=1, description="time limit; a cell that needs more continues in another job")
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    gres: str | None = Field(default=None, description="in place of --gpus-per-node, as in gpu:a100:1")
    signal_before: int = Field(default=180, ge=10, description="seconds before the time limit: a step and a checkpoint")
    setup: tuple[str, ...] = Field(default=(), description="shell lines before the cell, such as module load")
    extra: dict[str, JsonValue] = Field(default={}, description="further options of sbatch by their long names")
    # Ray
    address: str = Field(default="auto", description="of a cluster that is there; local starts one on this host")
    autoscale: bool = Field(default=False, description="nodes that do not exist yet may come")

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Read `key=value,key=value`, or a YAML file with the same fields; UsageError for what is not written so.

        Args:
            text: the pairs, or the file's path; None: all as by default.
        """
        if text is None:
            return cls()
        fields = _from_file(Path(text)) if text.endswith((".yaml", ".yml")) else _from_pairs(text)
        known = cls.model_fields
        # A wrong name is answered with those that there are.
        for name in fields if isinstance(fields, dict) else ():
            if name not in known:
                raise UsageError(f"--cluster has no field {name!r}; it has {', '.join(known)}")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise UsageError(f"--cluster {explain(error)}") from None


def _from_file(path: Path) -> object:
    try:
        return read_yaml(path.read_text("utf-8")) or {}
    except OSError as error:
        raise UsageError(f"--cluster {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--cluster {path}: {error}") from None


def _from_pairs(text: str) -> dict[str, object]:
    fields: dict[str, object] = {}
    setup: list[str] = []
    for part in split_list(text):
        name, value = split_pair(part, "--cluster", "cpus=8,minutes=30, or name a .yaml file")
        # Every other field may be given once.
        if name == "setup":
            setup.append(value)
        elif name in fields:
            raise UsageError(f"--cluster {name} is given twice, as {fields[name]} and as {value}")
        else:
            fields[name] = value
    if setup:
        fields["setup"] = tuple(setup)
    return fields
