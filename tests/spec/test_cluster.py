"""What `--cluster` takes, and what is refused before anything runs."""

from pathlib import Path

import pytest

from barbench.benchmarks.execution.executors.slurm import Slurm
from barbench.errors import UsageError
from barbench.spec.cluster import Cluster


def test_pairs_and_a_file_say_the_same(tmp_path: Path) -> None:
    pairs = Cluster.read("partition=gpu,minutes=30,memory_gb=1.5,autoscale=true,setup=module load cuda")
    (tmp_path / "c.yaml").write_text(
        "partition: gpu\nminutes: 30\nmemory_gb: 1.5\nautoscale: true\nsetup:\n  - module load cuda\n"
    )
    assert pairs == Cluster.read(str(tmp_path / "c.yaml"))
    assert (pairs.partition, pairs.minutes, pairs.memory_gb, pairs.setup) == ("gpu", 30, 1.5, ("module load cuda",))
    assert Cluster.read(None) == Cluster()


def test_setup_may_be_given_several_times_and_its_lines_keep_their_order() -> None:
    cluster = Cluster.read("setup=module load cuda,minutes=010,setup=source env/bin/activate")
    assert cluster.setup == ("module load cuda", "source env/bin/activate")
    assert cluster.minutes == 10


def test_times_and_padded_numbers_of_a_file_reach_sbatch_as_written(tmp_path: Path) -> None:
    """YAML 1.1 would make 750, 3600, 64 and a date of them."""
    (tmp_path / "c.yaml").write_text(
        "minutes: 010\nextra:\n  begin: 12:30\n  time-min: 1:00:00\n  nice: 0100\n  deadline: 2026-11-28\n"
    )
    cluster = Cluster.read(str(tmp_path / "c.yaml"))
    assert cluster.minutes == 10
    assert cluster.extra == {"begin": "12:30", "time-min": "1:00:00", "nice": 100, "deadline": "2026-11-28"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpu", "write it as key=value, for example cpus=8,minutes=30, or name a .yaml file"),
        ("queue=gpu", "has no field 'queue'; it has cpus, memory_gb"),
        ("minutes=soon", "--cluster minutes: Input should be a valid integer"),
        ("cpus=0", "--cluster cpus: Input should be greater than or equal to 1"),
        ("minutes=1:30", "--cluster minutes: Input should be a valid integer"),
        ("cpus=4,cpus=8", "--cluster cpus is given twice, as 4 and as 8"),
        ("nowhere.yaml", "--cluster nowhere.yaml: No such file or directory"),
    ],
)
def test_what_is_not_so_written(text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        Cluster.read(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_host_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no sbatch on this host; give the command on a login node"):
        Slurm(Cluster(), 1)
