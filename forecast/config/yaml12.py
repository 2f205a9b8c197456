"""Read and write YAML with the scalars of YAML 1.2: decimal numbers, true, false and null. Everything else is text."""

from __future__ import annotations

import re

import yaml


class Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: `1e-3` is a number, `yes` and `2015-01-31` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    is_integer = re.fullmatch(r"[-+]?[0-9]{1,300}", node.value)
    return int(node.value) if is_integer else float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"),
    list("-+.0123456789"),
)
Loader.add_constructor("tag:yaml.org,2002:int", _number)
Loader.add_constructor("tag:yaml.org,2002:float", _number)


class Dumper(yaml.SafeDumper):
    """Quote exactly the text that `Loader` would take for something else."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def parse_yaml_value(text: str) -> object:
    """Return the value of a text in YAML.

    >>> parse_yaml_value("[a, '09', 1e-3]")
    ['a', '09', 0.001]
    """
    return Loader(text).get_single_data()


def format_yaml_line(value: object) -> str:
    """Return a value as YAML on one line, with quotes where `load_config` would take it for something else.

    >>> format_yaml_line(["a", "09", 1.5])
    "[a, '09', 1.5]"
    """
    readable = str(value).isprintable()  # Line breaks of other alphabets must be escaped.
    text = yaml.dump([value], Dumper=Dumper, default_flow_style=True, sort_keys=False, allow_unicode=readable, width=10**6)
    return text.strip()[1:-1]
