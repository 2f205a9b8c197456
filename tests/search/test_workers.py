"""Jobs are computed wherever they are sent; on Ray, a node may die under them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from forecast.errors import ForecastError, RunError
from forecast.search import workers
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
    """End the process the first time that it is called with 1, and whenever it is called with 2."""
    attempts = Path(folder) / str(number)
    if number == 2 or number == 1 and not attempts.exists():
        attempts.touch()
        os._exit(1)
    return number


def test_a_job_whose_process_ends_is_computed_again(tmp_path):
    jobs = jobs_of(3)
    results = dict(Workers(2).compute(end_once, lambda: (job[0], (str(tmp_path), *job[1])) if (job := jobs()) else None))
    assert isinstance(results.pop("2"), LostError)
    assert results == {"0": 0, "1": 1}


def end_at_once(*_):
    os._exit(1)


def test_processes_that_never_begin_are_told(monkeypatch):
    monkeypatch.setattr(workers, "_begin_worker", end_at_once)
    with pytest.raises(RunError, match=r"no process could start, or all were killed.\s+Run .* In a script, put the call under"):
        list(Workers(2).compute(double, jobs_of(1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"engine": "spark"}, "there is no engine `spark`"), ({"address": "auto"}, "--address works only with a Ray cluster")],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(RunError, match=message):
        Workers(**settings)


def test_a_cluster_that_does_not_answer_is_told():
    with pytest.raises(RunError, match="127.0.0.1:1: no Ray cluster responded"):
        list(Workers(engine="ray", address="127.0.0.1:1").compute(double, jobs_of(1)))


@pytest.fixture
def cluster():
    """A Ray cluster on this machine: a head that computes nothing, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster
    cluster.shutdown()


def wait_and_double(number: int) -> int:
    time.sleep(1)
    return double(number)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_jobs_finish_though_a_node_dies(cluster):
    results = {}
    for name, result in Workers(engine="ray", address=cluster.address).compute(wait_and_double, jobs_of(6)):
        results[name] = result
        if len(results) == 1:
            cluster.remove_node(cluster.nodes[0], allow_graceful=False)
    assert isinstance(results.pop("3"), ForecastError)
    assert results == {"0": 0, "1": 2, "2": 4, "4": 8, "5": 10}
