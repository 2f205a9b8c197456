"""The base class of everything that is stored as a JSON file with typed fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Document(BaseModel, strict=True, allow_inf_nan=False, defer_build=True):
    """The content of a JSON file, whose fields are checked when it is read. Unknown fields are ignored."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the fields that nobody has set."""
        return self.model_dump(mode="json", exclude_unset=True)
