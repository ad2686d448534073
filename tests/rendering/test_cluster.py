"""The same jobs on a Ray cluster of two nodes of this machine: the same bytes, and a lost node loses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acetate.errors import InputError
from acetate.rendering import RenderSettings, render
from acetate.rendering.cluster import why_lost
from acetate.rendering.oom import REMEDY

from .conftest import audit, events, made_jobs, results, run

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="the extra [cluster] is not installed")


@pytest.fixture
def nodes(stub_log: Path) -> Iterator[Any]:
    """A cluster: a head without room for work, and two nodes with room for one worker each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    workers = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
    yield cluster, workers
    ray.shutdown()
    cluster.shutdown()


def test_two_nodes_give_the_same_bytes_and_the_loss_of_one_loses_nothing(
    settings: Callable[..., RenderSettings], tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, workers = nodes
    jobs = made_jobs(24, "sleep 0.1", outputs=("zip", "folder"))
    for number, prompt in ((3, "bug"), (5, "hiccup once"), (7, "die once"), (9, "memory")):
        jobs[number]["prompt"] = prompt
    lost = []

    def watch(event: str, facts: dict[str, Any]) -> None:
        if event == "job_done" and not lost:
            lost.append(workers[0])
            cluster.remove_node(workers[0], allow_graceful=False)

    monkeypatch.chdir(tmp_path)  # a relative folder means the same to actors, which work elsewhere
    outcome = render(settings(jobs, workers=2, cluster="auto", folder=Path("ray")), watch=watch)
    assert (outcome.made, outcome.failed) == (23, 1)
    audit(tmp_path / "ray", 23)
    assert any(entry["event"] == "worker_lost" for entry in events(tmp_path / "ray"))
    for job in jobs:
        job["prompt"] = (
            "bug"
            if job["prompt"] == "bug"
            else "sleep 0.1"
            if job["prompt"].startswith("sl")
            else job["prompt"]
        )
    run(settings(jobs, workers=2))
    assert results(tmp_path / "ray") == results(tmp_path / "out")


def test_who_is_to_blame_for_a_lost_actor() -> None:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    memory = OutOfMemoryError("Task was killed due to the node running low on memory.")
    assert why_lost(memory) == (
        f"out of memory: Ray ended its worker; {REMEDY}",
        True,
    )  # ... and not its node
    assert why_lost(NodeDiedError("The node is dead."))[1] is False
    assert why_lost(WorkerCrashedError())[1] is True


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ray://127.0.0.1:1", "cannot be reached"),
        ("auto", "cannot be reached"),
        ("nonsense", "must be auto, local"),
    ],
)
def test_a_cluster_that_is_not_there(
    settings: Callable[..., RenderSettings], address: str, reason: str
) -> None:
    with pytest.raises(InputError, match=rf"--cluster {address} {reason}"):
        render(settings(made_jobs(1), cluster=address))
