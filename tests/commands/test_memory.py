"""What is said when memory runs out."""

from __future__ import annotations

import pytest

from forecast.commands.train import train
from forecast.commands.validate import validate
from forecast.config.load import load_config
from forecast.errors import ResourceError
from forecast.forecasters.preparation import prepare
from forecast.training.memory import explain_memory_error, suggest_less_memory


class ResourceExhaustedError(Exception):
    """As TensorFlow's, which this test does not load."""


OUT_OF_MEMORY = {
    "numpy": MemoryError("Unable to allocate 745. GiB"),
    "tensorflow": ResourceExhaustedError("OOM when allocating tensor"),
    "jax": RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4000000000000 bytes."),
}


def raising(prepared, error: Exception) -> None:
    with explain_memory_error(prepared):
        raise error


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_the_message_names_the_batch_size_and_the_estimate(project, error):
    prepared = prepare(load_config(project(), {"training.batch_size": 64}))
    remedy = r"Lower training.batch_size \(now 64\), for example to 16"
    with pytest.raises(ResourceError, match=rf"memory ran out. Training was expected to need about 6\d\d MB, .*\n  {remedy}"):
        raising(prepared, error)


def test_other_errors_pass(project):
    with pytest.raises(ZeroDivisionError):
        raising(prepare(load_config(project())), ZeroDivisionError("division by zero"))


def test_validation_warns_of_what_the_machine_has_not(project, monkeypatch):
    monkeypatch.setattr("forecast.training.memory.get_machine_memory", lambda: 500e6)
    memory = next(finding for finding in validate(project()) if finding.subject == "memory")
    assert memory.level == "warning"
    assert memory.text.endswith("This machine has 500 MB")
    assert "training.batch_size" in memory.remedy


def test_units_are_named_where_weights_are_most_of_it(project):
    assert suggest_less_memory(prepare(load_config(project(model={"units": [3000]})))) == "Lower model.units from [3000]."


@pytest.mark.slow
def test_training_warns_of_it_too(project, tmp_path, monkeypatch, caplog):
    train(project(), tmp_path / "enough")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    monkeypatch.setattr("forecast.training.memory.get_machine_memory", lambda: 500e6)
    train(project(), tmp_path / "short")
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("memory may run out: training needs about 6")
    assert "Lower training.batch_size" in warning
