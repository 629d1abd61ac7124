"""A Ray cluster of two nodes, both on this host."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.execution.executors import contract


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its tasks run fake cells. Each node says that it has two cores."""
    utilities = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        contract.fake(patch, tmp_path_factory.mktemp("ray") / "hook")  # nodes hand their variables on to their tasks
        cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        cluster.add_node(num_cpus=2)
        yield cluster
        cluster.shutdown()
