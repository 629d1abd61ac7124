"""Ray's own ways, on a cluster of two nodes on this host."""

from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.executors.ray import Ray
from barbench.benchmarks.job import Job
from barbench.errors import UsageError
from barbench.spec.cluster import Cluster
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.execution.executors import contract

ray: Any = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def job(make_jobs: MakeJobs, tmp_path: Path) -> Job:
    return make_jobs(tmp_path / "results")[0]


def test_a_cell_whose_node_is_killed_goes_on_elsewhere(job: Job, ray_cluster: Any) -> None:
    """A node of its own with four cores, which is why the first attempt is there; then another of that size."""
    lost, told = ray_cluster.add_node(num_cpus=4), Told()
    [only] = contract.cells(job, ["wait"])

    class Killing(Told):
        def event(self, job: Job, event: dict[str, object]) -> None:
            super().event(job, event)
            if event["event"] == "step" and lost in ray_cluster.worker_nodes:
                job.checkpoint.write_text("kept")
                ray_cluster.remove_node(lost, allow_graceful=False)
                ray_cluster.add_node(num_cpus=4)

    told = Killing()
    [record] = contract.run([only], Ray(Cluster(cpus=3, address=ray_cluster.address), 0), retries=1, told=told)
    assert record.status == "done"
    assert [log.how for log in record.attempts] == ["lost", "lost"], "the second was under way when it was written"
    assert any("was lost (its task is gone" in note for note in told.notes)
    assert [e["step"] for e in told.events if e["event"] == "step"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("cluster", "gpus", "says"),
    [
        (
            {"cpus": 5},
            0,
            "no node of the Ray cluster can hold a cell with 5 cores, 0 GPUs; they have 2 cores, 0 GPUs, ",
        ),
        ({"cpus": 1}, 1, "no node of the Ray cluster can hold a cell with 1 core, 1 GPU; they have 2 cores, 0 GPUs, "),
    ],
)
def test_what_no_single_node_holds(cluster: dict[str, int], gpus: int, says: str, ray_cluster: Any) -> None:
    with pytest.raises(UsageError, match=says):
        Ray(Cluster(address=ray_cluster.address, **cluster), gpus)
    assert not ray.is_initialized()


def test_where_no_cluster_is() -> None:
    with pytest.raises(UsageError, match=r"^--executor ray: no cluster at 127\.0\.0\.1:9 ") as error:
        Ray(Cluster(address="127.0.0.1:9"), 0)
    assert "\n" not in str(error.value)
