"""Compare many configs: grids, hyperparameter search, and the workers that train."""
