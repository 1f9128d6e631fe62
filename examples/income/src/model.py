"""The random forest that predicts who earns more than $50,000 a year."""

import os

import joblib
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from src.constants import MODEL_FOLDER
from src.data import AdultData


def train_model(artifacts_folder: str, data: AdultData) -> Pipeline:
    """Trains the forest and writes it to the model's artifact."""
    categories = sorted(data.category_map)
    numbers = [i for i in range(len(data.feature_names)) if i not in data.category_map]
    impute = SimpleImputer(strategy="median")
    preprocess = ColumnTransformer(
        [
            ("num", make_pipeline(impute, StandardScaler()), numbers),
            ("cat", make_pipeline(impute, OneHotEncoder(handle_unknown="ignore")), categories),
        ]
    )
    forest = RandomForestClassifier(n_estimators=50, random_state=0)
    model = Pipeline([("preprocess", preprocess), ("model", forest)])
    model.fit(data.X_train, data.Y_train)

    print("Train accuracy: ", model.score(data.X_train, data.Y_train))
    print("Test accuracy: ", model.score(data.X_test, data.Y_test))

    folder = os.path.join(artifacts_folder, MODEL_FOLDER)
    os.makedirs(folder, exist_ok=True)
    joblib.dump(model, os.path.join(folder, "model.joblib"))
    return model
