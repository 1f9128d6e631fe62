"""A Metaflow flow that trains a model, saves a pipeline, deploys both, and calls them."""

import os
from pathlib import Path

from metaflow import FlowSpec, Parameter, step

import tempo_runtime as tempo


class FlowersFlow(FlowSpec):
    """Train, save, deploy and call."""

    trees = Parameter("trees", default=20, help="how many trees the forest has")

    @step
    def start(self):
        """Train the model and write it where MLServer reads it."""
        import joblib
        from sklearn.datasets import load_iris
        from sklearn.ensemble import RandomForestClassifier

        flowers = load_iris()
        self.species = [str(name) for name in flowers.target_names]
        self.rows = flowers.data[::50]
        forest = RandomForestClassifier(self.trees, random_state=0)
        Path("artifacts/iris").mkdir(parents=True, exist_ok=True)
        joblib.dump(forest.fit(flowers.data, flowers.target), "artifacts/iris/model.joblib")
        self.next(self.save)

    @step
    def save(self):
        """Save the pipeline. Its folder is what later steps, and other machines, need."""
        from flowers import Flowers

        self.artifact = os.path.abspath(tempo.save(Flowers(self.species)))
        self.next(self.call)

    @step
    def call(self):
        """Deploy the artifact and its model on this machine for the length of this step."""
        with tempo.deploy_local(self.artifact) as remote:
            self.answers = remote.predict(rows=self.rows)
        self.next(self.end)

    @step
    def end(self):
        """Show the answers, which Metaflow has stored with the run."""
        print("answers:", *self.answers)


if __name__ == "__main__":
    FlowersFlow()
