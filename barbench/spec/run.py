"""What a run is: which cells are asked for (`Run`), and where they run (`Place`). Used by `barbench run` and `tune`.

Both are made from the parameters of a command, whose names are those of the fields here.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from barbench.errors import UnknownName, UsageError
from barbench.paper.partitions import Exif
from barbench.paper.tables import TABLES
from barbench.spec.backbone import NECKS, HeadForm, NeckName
from barbench.spec.cluster import Cluster
from barbench.spec.recipe import Recipe, load_recipe
from barbench.spec.text import explain, split_list, whole_numbers

AUTO: Literal["auto"] = "auto"
TUNING: Literal["tuning"] = "tuning"
"""The folder in a results folder that holds the trials of `barbench tune`."""
MAX_SEED = 2**32 - 1  # that NumPy takes


def reports_beside(results: Path) -> Path:
    """The folder for the tables of a results folder: beside it, so that those of two folders have two.

    >>> reports_beside(Path("runs/results")).as_posix(), reports_beside(Path("runs/monday")).as_posix()
    ('runs/reports', 'runs/monday-reports')
    """
    named = results if results.name not in ("", "..") else results.resolve()
    return named.with_name("reports" if named.name == "results" else f"{named.name}-reports")


Precision = Literal["fp32", "bf16", "fp16"]
Kernels = Literal["auto", "low_memory", "fused", "plain", "lean"]
Proportion = Literal["published", "width"]
ExecutorName = Literal["local", "slurm", "ray"]
OutOfMemory = Literal["record", "halve"]
TrackerName = Literal["tensorboard", "wandb", "trackio"]


def table_numbers(text: str) -> tuple[str, ...]:
    """Read a comma list of table numbers, each once; `all` means every table. UsageError for an empty list."""
    names = split_list(text)
    if not names:
        raise UsageError("no table was named; try --table 4")
    if names == ["all"]:
        return tuple(TABLES.names())
    return tuple(dict.fromkeys(names))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read a comma list of seeds, each once, in order. UsageError for an empty list and for numbers out of range."""
    seeds = whole_numbers(text, "--seeds")
    if not seeds:
        raise UsageError("--seeds is empty; try --seeds 0")
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise UsageError(f"--seeds are from 0 to {MAX_SEED}, not {text}")
    return tuple(dict.fromkeys(seeds))


def _names(text: str) -> tuple[str, ...]:
    """A comma list as names, each once; an empty list stays empty, for whoever looks the names up to refuse."""
    return tuple(dict.fromkeys(split_list(text)))


def _necks(text: str) -> tuple[str, ...]:
    """A comma list of necks, each once; UsageError for an empty list, UnknownName for a neck that there is not."""
    names = _names(text)
    if not names:
        raise UsageError("no neck was named; try --neck etris")
    for name in names:
        if name not in NECKS:
            raise UnknownName("neck", name, NECKS)
    return names


def _cache(value: Any) -> Any:
    return None if value == "off" else value


def _from_text(read: Callable[[str], Any]) -> BeforeValidator:
    """Reads text as the command line has it; other values stay."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


Names = Annotated[tuple[str, ...], _from_text(_names)]


class Parameters(BaseModel):
    """Immutable fields that are made from a command's parameters of the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, parameters: Mapping[str, Any], **changes: Any) -> Self:
        """Take those of a command's parameters that are fields here, and `changes` in place of some; UsageError for
        values that are wrong or do not go together.

        Args:
            parameters: name -> value, as Typer's context has them; what was not given and has no default is None.
            **changes: each is a field.
        """
        fields = {name: parameters[name] for name in cls.model_fields if name in parameters}
        fields |= changes
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise UsageError(explain(error)) from None


class Run(Parameters):
    """Which cells are asked for. None: what the table says, or the default."""

    tables: Annotated[tuple[str, ...] | None, _from_text(table_numbers)] = None
    methods: Names | None = None
    suite: str | None = None
    datasets: Names | None = Field(default=None, description="`all` means the paper's four")
    backbones: Names | None = Field(default=None, description="names or folders")
    weights: str | None = Field(default=None, description="of every backbone")
    data: str | None = Field(default=None, description="a folder, or `shapes`; None: $BARBENCH_DATA, else shapes")
    recipe: str | None = Field(default=None, description="a name or a YAML file")
    changes: tuple[str, ...] = Field(default=(), description="key=value for each changed field of the recipe")
    options: tuple[str, ...] = Field(default=(), description="METHOD:component.parameter=value")
    proportion: Proportion | None = Field(
        default=None,
        description="width: sizes shrink with the backbone's width; None: width on embedded backbones, else published",
    )
    seeds: Annotated[tuple[int, ...], _from_text(parse_seeds)] = (0,)
    image_size: int | None = Field(default=None, description="pixels; None: the backbone's own")
    necks: Annotated[tuple[NeckName, ...] | None, _from_text(_necks)] = Field(
        default=None, description="of the segmentation head, one cell each; None: the suite's, or the backbone's own"
    )
    head_form: HeadForm | None = Field(default=None, description="of the segmentation head; None: the backbone's own")
    context_length: int | None = Field(default=None, description="tokens; None: the dataset's own")
    exif: Exif = "stored"
    precision: Precision = "fp32"
    held_out: int = Field(default=0, description="percent of the training images, as in a cell")
    limit: int | None = Field(default=None, ge=1, description="images of each evaluation split; None: all")
    limit_train: int | None = Field(default=None, ge=1, description="images of the training set; None: all")

    def recipe_or(self, default: str) -> Recipe:
        """The recipe that was asked for, else the one named `default`, with the changes."""
        return load_recipe(self.recipe or default, self.changes)


class Place(Parameters):
    """Where cells run, and with what; nothing here can change a result, but for the number of processes and `on_oom`.

    What belongs to a host may be open until the cell is there: `threads`, `workers` and `cache`.
    """

    results: Path = Field(default=Path("results"), description="folder of the records")
    device: str = Field(default=AUTO, description="as torch names it; auto: open")
    gpus: str | None = Field(default=None, description="all, none or numbers; None: as `device` says")
    processes: int = Field(default=1, description="of a cell, one GPU each")
    process_timeout: float = Field(default=30.0, description="minutes that a process of a cell waits for the others")
    threads: int = Field(default=0, description="of torch, per process; 0: open")
    workers: int | None = Field(default=None, description="processes that load images, per process; None: open")
    jobs: int | None = Field(default=None, description="cells at a time; None: as many as the host is good for")
    executor: ExecutorName = "local"
    cluster: Annotated[Cluster | None, _from_text(Cluster.read)] = None
    retries: int | None = Field(default=None, description="of a cell whose process or host died; None: the executor's")
    on_oom: OutOfMemory = Field(default="record", description="halve: run the cell again with half the micro-batch")
    cache: Annotated[Literal["auto"] | Path | None, BeforeValidator(_cache)] = Field(
        default=AUTO, description="folder of letterboxed images; None: none; auto: open"
    )
    kernels: Kernels = "auto"
    tracker: TrackerName | None = Field(default=None, description="that also gets losses and scores")
    keep_masks: bool = Field(default=False, description="store what is predicted beside the record")
    checkpoint_seconds: float = Field(default=30.0, description="between two checkpoints")
