"""Trains the income classifier and its explainer, and saves what a server loads."""

import os
import time
from contextlib import contextmanager

from rich.console import Console

console = Console()


@contextmanager
def step(doing, done):
    """Shows what takes time while it does, and how long it took."""
    start = time.monotonic()
    with console.status(f"{doing} ..."):
        yield
    console.print(f"[green]✓[/] {done} [dim]{time.monotonic() - start:.1f} s[/]")


def make_artifacts():
    """Trains both models and saves what the server loads."""
    with step("Importing alibi and scikit-learn", "Imported alibi and scikit-learn"):
        from src.constants import ARTIFACTS_FOLDER
        from src.data import AdultData
        from src.explainer import train_explainer
        from src.model import train_model
        from src.tempo import create_adult_model, create_explainer
        from tempo_runtime import Columns, save
    with step("Reading the census", "Read the census"):
        data = AdultData()
    rows = f"{len(data.X_train):,} rows to train with, {len(data.X_test):,} to test"
    console.print(f"  [dim]{data.source}: {rows}[/]")
    with step("Training the random forest", "Trained the random forest"):
        model = train_model(ARTIFACTS_FOLDER, data)
    with step("Fitting the anchor explainer", "Fitted the anchor explainer"):
        train_explainer(ARTIFACTS_FOLDER, data, model)
    with step("Saving the explainer pipeline", "Saved the explainer pipeline"):
        people = Columns(data.feature_names, data.category_map)
        explainer = create_explainer(create_adult_model())
        folder = save(explainer, environment=None, columns={"payload": people})
    console.print(f"  [dim]{os.path.relpath(folder)}[/]")
    return data


if __name__ == "__main__":
    make_artifacts()
