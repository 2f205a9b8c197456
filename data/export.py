"""Writes the sample files of this folder from PyPI packages.

pip install sktime vega_datasets statsmodels; python data/export.py
"""

from pathlib import Path

import statsmodels.api as sm
from sktime.datasets import load_airline
from vega_datasets import local_data

FOLDER = Path(__file__).parent


def main() -> None:
    """Write airline.csv, weather.csv and co2.csv."""
    airline = load_airline().astype(int).rename("passengers")
    airline.index = airline.index.to_timestamp().rename("month")
    airline.to_csv(FOLDER / "airline.csv")
    local_data.seattle_weather().to_csv(FOLDER / "weather.csv", index=False)
    sm.datasets.co2.load_pandas().data.rename_axis("week").to_csv(FOLDER / "co2.csv")


if __name__ == "__main__":
    main()
