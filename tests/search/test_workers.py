"""Jobs are computed wherever they are sent; on Ray, a node may die under them."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pandas as pd
import pytest
from pebble.pool.process import PoolManager

from forecast.errors import ForecastError, RunError
from forecast.runs.run import Run
from forecast.search import workers
from forecast.search.experiment import experiment
from forecast.search.workers import LostError, Workers


def jobs_of(count: int):
    """A `next_job` that gives so many."""
    left = list(range(count))
    return lambda: (str(number := left.pop(0)), (number,)) if left else None


def double(number: int) -> int:
    if number == 3:
        raise RunError("three is not for doubling.")
    return 2 * number


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_with_their_names_and_errors_are_results(count):
    results = dict(Workers(count).compute(double, jobs_of(5)))
    assert isinstance(results.pop("3"), ForecastError)
    assert results == {"0": 0, "1": 2, "2": 4, "4": 8}


def test_jobs_are_asked_for_when_there_is_room():
    asked = []
    give = jobs_of(3)

    def next_job():
        asked.append(len(asked))
        return give()

    results = Workers().compute(double, next_job)
    assert next(results) == ("0", 0)
    assert len(asked) == 1


def end_once(folder: str, number: int) -> int:
    """Ends its process the first time it is called with a number."""
    seen = Path(folder) / str(number)
    if seen.exists():
        return number
    seen.touch()
    os._exit(1)


def end_at_once(*_):
    os._exit(1)


def end_of_all(*_):
    raise BrokenProcessPool("All workers expired")


def test_a_job_is_lost_if_its_process_ends_and_computed_again_if_the_pool_ends(tmp_path, monkeypatch):
    jobs = jobs_of(3)

    def next_job():
        return (job[0], (str(tmp_path), *job[1])) if (job := jobs()) else None

    results = dict(Workers(2).compute(end_once, next_job))
    assert {name: type(result) for name, result in results.items()} == {"0": LostError, "1": LostError, "2": LostError}
    jobs = jobs_of(3)
    (tmp_path / "1").unlink()
    monkeypatch.setattr(PoolManager, "find_expired_task", end_of_all)
    assert dict(Workers(2).compute(end_once, next_job)) == {"0": 0, "1": 1, "2": 2}


def test_processes_that_never_begin_are_told(monkeypatch):
    monkeypatch.setattr(workers, "_begin_worker", end_at_once)
    with pytest.raises(RunError, match=r"no process could begin.\s+In a script, call this under"):
        list(Workers(2).compute(double, jobs_of(1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"engine": "spark"}, "there is no engine `spark`"), ({"address": "auto"}, "--address needs a Ray cluster")],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(RunError, match=message):
        Workers(**settings)


def test_a_cluster_that_does_not_answer_is_told():
    with pytest.raises(RunError, match="127.0.0.1:1: no Ray cluster answers"):
        list(Workers(engine="ray", address="127.0.0.1:1").compute(double, jobs_of(1)))


@pytest.fixture
def cluster():
    """A Ray cluster on this machine: a head that computes nothing, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    made.shutdown()


@pytest.mark.slow
def test_runs_finish_though_a_node_dies(project, tmp_path, cluster):
    path = project(training={"epochs": 1}).with_name("grid.yaml")
    path.write_text("base: config.yaml\ngrid: {model.cell: [gru, simple_rnn]}\nseeds: [1, 2, 3, 4]\n")
    told = []

    def kill_a_node(finished) -> None:
        told.append(finished.name)
        if len(told) == 3:
            cluster.remove_node(cluster.nodes[0], allow_graceful=False)

    workers = Workers(engine="ray", address=cluster.address)
    run = experiment(path, tmp_path / "out", workers=workers, on_finished=kill_a_node)
    table = pd.read_csv(run.leaderboard)
    assert len(table) == len(told) == len(set(told)) == 8
    assert table.run.nunique() == 8
    assert (table.state == "finished").all()
    one = Run.open(run.runs / table.run[0])
    assert one.read_config().data.path == str(tmp_path / "data.csv"), "not where the node had it"
    path.write_text(path.read_text().replace("[1, 2, 3, 4]", "[3]"))
    here = pd.read_csv(experiment(path, tmp_path / "here").leaderboard)
    there = table.set_index("run").validation_mae[here.run]
    assert there.tolist() == pytest.approx(here.validation_mae.tolist(), rel=1e-5)
