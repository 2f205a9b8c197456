"""Scale static covariates: numbers to mean 0 and deviation 1 over the training series, categories to codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from forecast.config import ScalingConfig
from forecast.documents import Document
from forecast.windows.column_scaling import fit_columns

if TYPE_CHECKING:
    from forecast.data import StaticCovariates

Positive = Annotated[float, Field(gt=0)]


class StaticScalerDocument(Document):
    """A `StaticScaler` as it is stored in scaler.json."""

    offset: list[float] = []
    scale: list[Positive] = []
    vocabulary: list[list[str]] = []


@dataclass(frozen=True)
class StaticScaler:
    """The scaling of static covariates, which makes inputs of a network of them.

    offset, scale: `(static covariates,)`. vocabulary: the texts of each static category, in the order of their codes from 1 on.
    """

    offset: np.ndarray
    scale: np.ndarray
    vocabulary: list[list[str]]

    def apply(self, static: StaticCovariates) -> dict[str, np.ndarray]:
        """Return inputs by name: `static` float32 and `categories` int32, 0 for an unknown category; `(series, columns)`."""
        inputs = {}
        if len(self.offset):
            inputs["static"] = ((static.numbers - self.offset) / self.scale).astype(np.float32)
        if self.vocabulary:
            inputs["categories"] = np.empty(static.categories.shape, dtype=np.int32)
            for column, texts in enumerate(self.vocabulary):
                codes = {text: code for code, text in enumerate(texts, 1)}
                inputs["categories"][:, column] = [codes.get(text, 0) for text in static.categories[:, column]]
        return inputs

    def to_document(self) -> StaticScalerDocument:
        """Return the document to store."""
        return StaticScalerDocument(offset=self.offset.tolist(), scale=self.scale.tolist(), vocabulary=self.vocabulary)

    @classmethod
    def from_document(cls, document: StaticScalerDocument) -> StaticScaler:
        """Return the scaler of a document.

        Raises:
            ValueError: it does not have a scale for each offset.
        """
        if len(document.offset) != len(document.scale):
            raise ValueError("the static scaler needs as many scales as offsets")
        return cls(np.array(document.offset), np.array(document.scale), document.vocabulary)


def fit_static(static: StaticCovariates) -> StaticScaler:
    """Fit the scaling of static covariates on the series that are trained on; a number that they share gets scale 1."""
    offset, scale = fit_columns(static.numbers, ScalingConfig(method="standard"))
    return StaticScaler(offset, scale, [sorted(set(column)) for column in static.categories.T])
