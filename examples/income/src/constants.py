"""Where the example's artifacts are."""

import os

MODEL_FOLDER = "model"
EXPLAINER_FOLDER = "explainer"

EXAMPLE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Tests and notebooks may keep their artifacts apart from the demo's.
ARTIFACTS_FOLDER = os.environ.get("INCOME_ARTIFACTS", os.path.join(EXAMPLE_FOLDER, "artifacts"))
