"""Trains and saves the pipelines that are named, or all; see the package's own words."""

import importlib
import sys

from .models import train_iris, train_reviews, train_slopes

ALL = (
    "anchor_text",
    "kernel_shap",
    "tree_shap",
    "ale",
    "partial_dependence",
    "permutation_importance",
    "counterfactual",
)


def main(names: list[str]) -> None:
    """Trains the models, and for each name the explainer."""
    models = {"iris": train_iris(), "slopes": train_slopes(), "reviews": train_reviews()}
    for name in names or ALL:
        try:
            module = importlib.import_module(f".{name}", __package__)
            print("saved", module.train(**models))
        except ImportError as error:
            print(f"left out {name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
