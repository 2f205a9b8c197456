"""Run directories that someone tampered with; each must be refused, and none may execute anything.

`HOSTILE` maps what was done to what the message tells and a function that does it to a good run. The canary is a file that only
code can make.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from forecast.runs.layout import Entry, RunDirectory
from forecast.runs.run import Run

CANARY = "canary.txt"
OLD_RUNS = Path(__file__).parent / "old_runs"  # a run of each version of the network's description, with its forecast


def make_hostile(good: Path, name: str, folder: Path) -> Path:
    """Copy the run `good` into `folder`, in the layout of today, and damage it as `HOSTILE[name]` does."""
    run = copy_in_current_layout(good, folder / "run")
    _, damage = HOSTILE[name]
    damage(run)
    return run.directory


def copy_in_current_layout(source: Path, target: Path) -> Run:
    """Copy a run that an earlier version wrote, with every file where training puts it today."""
    old, new = Run(source), Run(target)
    copy_files(old, new)
    if old.checksums.exists():
        new.seal()
    return new


def copy_in_earlier_layout(source: Path, target: Path) -> Run:
    """Copy a run that is not finished as an earlier version would have left it."""
    target.mkdir(parents=True)
    shutil.copyfile(Run(source).status, target / "status.json")
    copy_files(Run(source), old := Run(target))
    return old


def copy_files(source: Run, target: Run) -> None:
    """Copy every file but the checksums to its place in another layout."""
    for name, entry in vars(RunDirectory).items():
        if isinstance(entry, Entry) and name != "checksums" and (path := getattr(source, name)).is_file():
            copy = getattr(target, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def cut(name: str, share: float) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        path = getattr(run, name)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return damage


def flip(name: str, place: float) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        path = getattr(run, name)
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1
        path.write_bytes(data)

    return damage


def replace(name: str, data: bytes | Callable[[Path], bytes], sealed: bool = True) -> Callable[[Run], None]:
    """Another content, with the checksums to match: whoever tampers can compute them, too."""

    def damage(run: Run) -> None:
        path = getattr(run, name)
        path.write_bytes(data if isinstance(data, bytes) else data(path.with_name(CANARY)))
        if sealed:
            run.seal()

    return damage


def edit(name: str, change: Callable[[dict], object]) -> Callable[[Run], None]:
    """Another value somewhere in a JSON file, with the checksums to match."""

    def damage(run: Run) -> None:
        path = getattr(run, name)
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        run.seal()

    return damage


def rewrite(run: Run, old: str, new: str, name: str = "config") -> None:
    path = getattr(run, name)
    path.write_text(re.sub(old, new, path.read_text()))
    run.seal()


def arrays(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        from safetensors.numpy import load_file, save_file

        path = getattr(run, name)
        held = load_file(path)
        change(held)
        save_file(held, path)
        run.seal()

    return damage


weights, offsets = partial(arrays, "weights"), partial(arrays, "intervals")


def thousandfold(arrays: dict[str, np.ndarray]) -> None:
    arrays["offsets"] = np.repeat(arrays["offsets"], 100_000, axis=0)


def link(name: str, target: str) -> Callable[[Run], None]:
    """A file of the run becomes a link; `{copy}` is a true copy of it outside, `{folder}` the folder of the run."""

    def damage(run: Run) -> None:
        path = getattr(run, name)
        outside = run.directory.parent / f"outside-{path.name}"
        path.rename(outside)
        path.symlink_to(target.format(copy=outside, folder=run.directory))

    return damage


def model_folder_elsewhere(run: Run) -> None:
    run.network.parent.rename(run.directory.parent / "elsewhere")
    run.network.parent.symlink_to(run.directory.parent / "elsewhere")


def pipe(run: Run) -> None:
    run.weights.unlink()
    os.mkfifo(run.weights)


def extra(name: str, data: Callable[[Path], bytes]) -> Callable[[Run], None]:
    def damage(run: Run) -> None:
        (run.network.parent / name).write_bytes(data(run.directory / CANARY))

    return damage


class Bomb:
    """Touches the canary when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.canary}",)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Bomb(canary))


def keras_lambda(canary: Path) -> bytes:
    """A .keras archive whose config names code."""
    config = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {"function": {"class_name": "function", "config": "system", "module": "os", "registered_name": "system"}},
        "arguments": {"command": f"touch {canary}"},
    }  # fmt: skip
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("../../canary.txt", "path traversal")
    return archive.getvalue()


def header(text: bytes, length: int | None = None) -> bytes:
    """A safetensors file with this header and no data."""
    return struct.pack("<Q", len(text) if length is None else length) + text


def layer(data: dict, kind: str) -> dict:
    return next(layer for layer in data["layers"] if layer["kind"] == kind)


def brackets(canary: Path) -> bytes:
    return b"[" + b"[]," * 5_000_000 + b"[]]"


SEALED = ("config", "contract", "scaler", "recent", "network", "weights", "intervals")
HUGE = b'{"a/b":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}'


def refused(told: str, damages: dict[str, Callable[[Run], None]]) -> dict[str, tuple[str, Callable[[Run], None]]]:
    """What the message tells, beside each damage."""
    return {name: (told, damage) for name, damage in damages.items()}


HOSTILE: dict[str, tuple[str, Callable[[Run], None]]] = {
    **refused(
        "was changed after training: its sha256 is not in (SHA256SUMS|sha256sums.txt)",
        {
            **{f"{name} cut to {share:.0%}": cut(name, share) for name in (*SEALED, "checksums") for share in (0, 0.5, 0.9)},
            **{
                f"{name} with a bit flipped at {at:.0%}": flip(name, at)
                for name in (*SEALED, "checksums")
                for at in (0.1, 0.5, 0.9)
            },
            "a checksum of a path": lambda run: run.checksums.write_text(run.checksums.read_text().replace("  ", "  ../../../")),
        },
    ),
    **refused(
        "status.json: this file cannot be read", {f"status cut to {share:.0%}": cut("status", share) for share in (0, 0.5, 0.9)}
    ),
    **refused("`state`: Input should be", {"a state that is a list": replace("status", b'{"state": []}', False)}),
    **refused("the run has no checksums", {"no checksums": lambda run: run.checksums.unlink()}),
    **refused(
        "this is not the network that the config describes",
        {
            "a vocabulary that no column has": edit(
                "scaler", lambda data: data.update(static={"offset": [], "scale": [], "vocabulary": [["a"] * 1000]})
            ),
            "a lookback of a billion": edit("network", lambda data: data["inputs"].update(past=[10**9, 1])),
            "a million units": edit("network", lambda data: layer(data, "recurrent")["options"].update(units=10**6)),
            "units beyond all numbers": edit("network", lambda data: layer(data, "recurrent")["options"].update(units=10**400)),
            "a horizon of a billion": edit("network", lambda data: layer(data, "head")["options"].update(horizon=10**9)),
            "a huge declared shape": edit(
                "network", lambda data: layer(data, "head")["weights"].update(kernel=[2**40, 2**40, 1])
            ),
            "a negative shape": edit("network", lambda data: layer(data, "head").update(shape=[-1, 1])),
            "ten thousand layers": edit("network", lambda data: data.update(layers=data["layers"] * 1000)),
            "no layers": edit("network", lambda data: data.update(layers=[])),
            "layers of another network": edit("network", lambda data: data["layers"].pop(0)),
            "an unknown kind": edit("network", lambda data: layer(data, "head").update(kind="Lambda")),
            "an unknown option": edit("network", lambda data: layer(data, "head")["options"].update(function="os.system")),
            "a missing option": edit("network", lambda data: layer(data, "head")["options"].pop("start")),
            "a layer that takes itself": edit("network", lambda data: layer(data, "head").update(inputs=["head"])),
            "inputs that are no list": edit("network", lambda data: layer(data, "head").update(inputs=7)),
            "an epsilon that is no number": edit(
                "network", lambda data: layer(data, "scale")["options"].update(epsilon=float("nan"))
            ),
            "an affine map of another": edit("network", lambda data: layer(data, "affine_inverse")["options"].update(of="head")),
            "a layer with a path for a name": edit("network", lambda data: layer(data, "head").update(name="../../canary.txt")),
            "a config of another lookback": lambda run: rewrite(run, "lookback: 12", "lookback: 13"),
            "a config of another cell": lambda run: rewrite(run, "cell: gru", "cell: lstm"),
        },
    ),
    **refused(
        "this program reads versions 1 to 4",
        {
            "no version": edit("network", lambda data: data.pop("version")),
            "a version as text": edit("network", lambda data: data.update(version="2")),
            "a version of the future": edit("network", lambda data: data.update(version=99)),
            "a description that is a list": replace("network", b"[]"),
        },
    ),
    **refused(
        "the description of the network is damaged",
        {
            "an unknown field": edit("network", lambda data: layer(data, "head").update(module="os")),
            "a Keras config for the description": replace(
                "network",
                lambda canary: json.dumps(
                    {"module": "os", "class_name": "system", "config": [f"touch {canary}"], "version": 2}
                ).encode(),
            ),
        },
    ),
    **refused(
        "the weights and the description of the network differ in",
        {
            "a missing tensor": weights(lambda arrays: arrays.pop("head/bias")),
            "an extra tensor": weights(lambda arrays: arrays.update({"extra/bias": np.ones(1, "f")})),
            "a tensor with a path for a name": weights(lambda arrays: arrays.update({"../../canary.txt": np.ones(1, "f")})),
        },
    ),
    **refused(
        r"weight `head/bias` is not a float32 array of shape \(3, 6\) with finite values",
        {
            "a transposed tensor": weights(lambda arrays: arrays.update({"head/bias": arrays["head/bias"].T.copy()})),
            "a tensor of integers": weights(lambda arrays: arrays.update({"head/bias": arrays["head/bias"].astype("i4")})),
            "a tensor in double precision": weights(
                lambda arrays: arrays.update({"head/bias": arrays["head/bias"].astype("f8")})
            ),
            "a tensor of NaN": weights(lambda arrays: arrays.update({"head/bias": arrays["head/bias"] * np.nan})),
        },
    ),
    **refused(
        "weights.safetensors: this file cannot be read",
        {
            "a huge tensor in the header": replace("weights", header(HUGE)),
            "a header of 2^63 bytes": replace("weights", header(b"{}", 2**63)),
            "a nested header": replace("weights", header(b'{"a":' * 10**5)),
            "a pickle for weights": replace("weights", pickled),
            "a Keras archive for weights": replace("weights", keras_lambda),
            "a tensor of an unknown type": replace(
                "weights", header(b'{"head/bias":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}') + b"0"
            ),
        },
    ),
    **refused(
        "this file does not belong in a run",
        {
            "a Keras archive beside the weights": extra("model.keras", keras_lambda),
            "a pickle beside the weights": extra("weights.pkl", pickled),
            "a module beside the weights": extra("forecast.py", lambda canary: f"open({str(canary)!r}, 'w')".encode()),
        },
    ),
    **refused(
        "it is not a regular file in this run",
        {
            "no weights": lambda run: run.weights.unlink(),
            "weights that are a link": link("weights", "{copy}"),
            "weights that are a link to themselves": link("weights", "{folder}/model/weights.safetensors"),
            "a description that is a link to zeros": link("network", "/dev/zero"),
            "a description that is a link to nothing": link("network", "/nowhere"),
            "recent rows that are a link": link("recent", "/etc/passwd"),
            "a config that is a link": link("config", "{copy}"),
            "a status that is a link": link("status", "{copy}"),
            "checksums that are a link": link("checksums", "{copy}"),
            "a model folder that is a link": model_folder_elsewhere,
            "weights that are a pipe": pipe,
        },
    ),
    **refused(
        "it holds more than the maximum of \\d+ lists and mappings",
        {
            name + " nested deep": replace(name, b"[" * 10**6, name != "status")
            for name in ("network", "scaler", "contract", "status")
        },
    ),
    **refused(
        "it holds more than the maximum of \\d+ bytes",
        {
            **{f"{name} of 15 MB of brackets": replace(name, brackets) for name in ("network", "scaler", "contract")},
            "a status of 15 MB of brackets": replace("status", brackets, False),
            "a scaler of 100 MB": replace("scaler", lambda _: b"[" + b"0," * 50_000_000 + b"0]"),
            "a header of 100 MB": replace("weights", lambda _: header(b" " * 10**8 + b"{}")),
            "a config of 1 MB": replace("config", b"a: b\n" * 200_000),
            "recent rows that are noise": replace("recent", bytes(range(256)) * 10_000),
            "recent rows of 2 GB": lambda run: os.truncate(run.recent, 2 * 10**9),
            "checksums of 16 MB": lambda run: run.checksums.write_text(run.checksums.read_text() + "\n" * 16_000_000),
        },
    ),
    **refused(
        "network.json: this file cannot be read",
        {
            "a number of a million digits": replace("network", b'{"version": ' + b"9" * 10**6 + b"}"),
            "a Keras archive for the description": replace("network", keras_lambda),
        },
    ),
    **refused(
        "config.yaml:1:.* uses the YAML tag",
        {
            "a config that calls Python": replace(
                "config", lambda canary: f"name: !!python/object/apply:os.system ['touch {canary}']".encode()
            ),
            "a config of a type that it is not": replace("config", b"seed: !!timestamp foo"),
        },
    ),
    **refused(
        "config.yaml:2:8: the file uses a YAML alias",
        {
            "a config of aliases": replace(
                "config", b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 121))
            )
        },
    ),
    **refused("is nested too deeply for a config", {"a config nested deep": replace("config", b"[" * 40_000)}),
    **refused(
        "the scaler is damaged",
        {
            "a scaler that divides by 0": edit("scaler", lambda data: data.update(scale=[[0.0]] * len(data["scale"]))),
            "a scaler of no numbers": edit("scaler", lambda data: data.update(offset="many")),
            "a scaler beyond all numbers": edit("scaler", lambda data: data["offset"][0].__setitem__(0, 10**400)),
            "a scaler of more series": edit("scaler", lambda data: data["series_ids"].append("west")),
            "a scaler of one series twice": edit("scaler", lambda data: data.update(series_ids=["north", "north"])),
            "a scaler of what is static that divides by 0": edit(
                "scaler", lambda data: data.update(static={"offset": [1], "scale": [0], "vocabulary": []})
            ),
            "a vocabulary of numbers": edit(
                "scaler", lambda data: data.update(static={"offset": [], "scale": [], "vocabulary": [[1, 2]]})
            ),
            "a scaler of fewer columns": edit("scaler", lambda data: data.update(columns=["sales"])),
        },
    ),
    **refused(
        "the config, the contract and the scaler do not belong together",
        {
            "a scaler of another column": edit("scaler", lambda data: data.update(columns=["sales", "else"])),
            "a scaler of a static column that no config names": edit(
                "scaler", lambda data: data.update(static={"offset": [0], "scale": [1], "vocabulary": []})
            ),
            "a scaler of another transform": edit("scaler", lambda data: data.update(transform="none")),
            "a contract of fewer columns": edit("contract", lambda data: data["columns"].pop("sales")),
        },
    ),
    **refused(
        "the forecasts are too large to represent",
        {
            "a scaler that magnifies": edit("scaler", lambda data: data["scale"][0].__setitem__(0, 1e30)),
            "an affine map onto nothing": weights(lambda arrays: arrays.update({"affine/gamma": arrays["affine/gamma"] * 0})),
        },
    ),
    **refused(
        "the intervals are damaged or belong to another run",
        {
            "intervals of another name": offsets(lambda arrays: arrays.update(more=arrays["offsets"])),
            "intervals of fewer quantiles": offsets(lambda arrays: arrays.update(offsets=arrays["offsets"][..., :3])),
            "intervals in double precision": offsets(lambda a: a.update(offsets=a["offsets"][..., :2].astype(np.float64))),
            "intervals that are no numbers": offsets(lambda arrays: arrays.update(offsets=arrays["offsets"] * np.float32("nan"))),
        },
    ),
    **refused("it holds more than", {"intervals of a thousand series": offsets(thousandfold)}),
    **refused(
        "the interval bounds are too large to represent",
        {"intervals as wide as the sky": offsets(lambda arrays: arrays.update(offsets=arrays["offsets"] * np.float32(1e35)))},
    ),
    **refused("intervals.safetensors: this file is missing", {"no intervals": lambda run: run.intervals.unlink()}),
    **refused(
        "intervals.safetensors: this file cannot be read",
        {
            "pickled intervals": replace("intervals", pickled),
            "intervals of a huge shape": replace("intervals", header(HUGE)),
        },
    ),
    **refused(
        r"contract.json: this file cannot be read \((`(freq|columns|timezone|last_timestamp)`: |Input should be an object)",
        {
            "a contract that is a list": replace("contract", b"[]"),
            "a contract of lists": edit("contract", lambda data: data.update(freq=["D"])),
            "a contract of a long freq": edit("contract", lambda data: data.update(freq="1h" * 10**6)),
            "a contract of no columns": edit("contract", lambda data: data.update(columns=5)),
            "a contract of a zone that is a number": edit("contract", lambda data: data.update(timezone=5)),
            "a contract that ended at no time": edit("contract", lambda data: data.update(last_timestamp="never")),
        },
    ),
    **refused(
        "is not a pandas frequency",
        {
            "a contract of steps beyond all numbers": edit("contract", lambda data: data.update(freq="99999999999999999999D")),
            "a contract of steps of ten thousand years": edit("contract", lambda data: data.update(freq="10000YS")),
        },
    ),
    **refused(
        "the spacing is not one step of freq D", {"a contract of another freq": edit("contract", lambda d: d.update(freq="D"))}
    ),
    **refused(
        "data.timezone 'Nowhere/Land'", {"a contract of nowhere": edit("contract", lambda d: d.update(timezone="Nowhere/Land"))}
    ),
    **refused(
        "recent.csv: these rows do not match the contract and the scaler",
        {
            "a series with a path for a name": edit(
                "scaler", lambda data: data["series_ids"].__setitem__(0, "../../../etc/passwd")
            ),
            "recent rows of one series": lambda run: rewrite(run, r"(?m)^south,.*\n", "", "recent"),
            "recent rows of another year": lambda run: rewrite(run, ",20", ",19", "recent"),
        },
    ),
}
