"""The Adult census rows, from wherever they are at hand.

In this order:

1. the file that `TEMPO_ADULT_DATA` names: UCI's `adult.data`, as published;
2. with `TEMPO_ADULT_FETCH=1`, alibi's `fetch_adult`, which downloads that file;
3. the rows that the PyPI package `xai` carries: the same people, without their country.

The categories are those `fetch_adult` makes (https://docs.seldon.io/projects/alibi).
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd

RICH = ">50K"
UCI_COLUMNS = [
    "Age",
    "Workclass",
    "fnlwgt",
    "Education",
    "Education-Num",
    "Marital Status",
    "Occupation",
    "Relationship",
    "Race",
    "Sex",
    "Capital Gain",
    "Capital Loss",
    "Hours per week",
    "Country",
    "Target",
]
XAI_COLUMNS = [
    "Age",
    "Workclass",
    "Education",
    "Education-Num",
    "Marital Status",
    "Occupation",
    "Relationship",
    "Race",
    "Sex",
    "Capital Gain",
    "Capital Loss",
    "Hours per week",
    "Target",
]
UNUSED = ["fnlwgt", "Education-Num"]

GROUPS = {
    "Education": {
        "Dropout": "10th 11th 12th 1st-4th 5th-6th 7th-8th 9th Preschool",
        "High School grad": "HS-grad Some-college",
        "Masters": "Masters",
        "Prof-School": "Prof-school",
        "Associates": "Assoc-acdm Assoc-voc",
    },
    "Occupation": {
        "Admin": "Adm-clerical",
        "Military": "Armed-Forces",
        "Blue-Collar": "Craft-repair Farming-fishing Handlers-cleaners Machine-op-inspct "
        "Transport-moving",
        "White-Collar": "Exec-managerial",
        "Service": "Other-service Priv-house-serv",
        "Professional": "Prof-specialty",
        "Other": "Protective-serv Tech-support",
    },
    "Marital Status": {
        "Never-Married": "Never-married",
        "Married": "Married-AF-spouse Married-civ-spouse",
        "Separated": "Married-spouse-absent Separated Divorced",
    },
    "Country": {
        "British-Commonwealth": "Canada England India Ireland Scotland",
        "China": "China Hong Taiwan",
        "Euro_1": "France Germany Holand-Netherlands Italy",
        "Euro_2": "Greece Hungary Poland Portugal South",
        "Latin-America": "Dominican-Republic Guatemala Haiti Honduras Jamaica Mexico "
        "Nicaragua Outlying-US(Guam-USVI-etc) Puerto-Rico Trinadad&Tobago",
        "Other": "Cuba Iran Japan",
        "SE-Asia": "Cambodia Laos Philippines Thailand Vietnam",
        "South-America": "Columbia Ecuador El-Salvador Peru",
    },
}


@dataclass
class Adult:
    """The census as numbers.

    Attributes:
        data: One row a person, one column a feature; categories as their index.
        target: 1 where a person earns more than $50,000 a year.
        feature_names: Name of each column.
        category_map: Column -> its categories, in the order of their index.
        source: Where the rows came from, in words.
    """

    data: np.ndarray
    target: np.ndarray
    feature_names: list[str]
    category_map: dict[int, list[str]]
    source: str


def load_adult() -> Adult:
    """Reads the rows; see the top of this file for where from."""
    path = os.environ.get("TEMPO_ADULT_DATA")
    if path and not os.path.isfile(path):
        raise SystemExit(
            f"TEMPO_ADULT_DATA names {path}, and there is no such file: correct it, or unset it for "
            "the rows that the package xai carries"
        )
    if path:
        rows = pd.read_csv(path, names=UCI_COLUMNS, skipinitialspace=True)
        return _encode(rows, f"UCI's adult.data ({path})")
    if os.environ.get("TEMPO_ADULT_FETCH") == "1":
        from alibi.datasets import fetch_adult

        fetched = fetch_adult()
        names, categories = list(fetched.feature_names), dict(fetched.category_map)
        return Adult(fetched.data, fetched.target, names, categories, "alibi's fetch_adult")
    spec = find_spec("xai")  # found, not imported: importing it draws in plotting libraries
    if spec is None or spec.origin is None:
        raise SystemExit(
            "The census rows are not here: pip install '.[demo]' in a clone of tempo_runtime brings "
            "some, or set TEMPO_ADULT_DATA to UCI's adult.data"
        )
    path = os.path.join(os.path.dirname(spec.origin), "data", "census.csv")
    rows = pd.read_csv(path, index_col=0, skipinitialspace=True)
    return _encode(rows.set_axis(XAI_COLUMNS, axis=1), "the rows of the PyPI package xai")


def _encode(rows: pd.DataFrame, source: str) -> Adult:
    target = (rows["Target"] == RICH).astype(int).to_numpy()
    features = rows.drop(columns=["Target", *UNUSED], errors="ignore")
    category_map = {}
    for column, name in enumerate(features.columns):
        if features[name].dtype == object:
            merged = {
                old: new for new, olds in GROUPS.get(name, {}).items() for old in olds.split()
            }
            categories, codes = np.unique(features[name].replace(merged), return_inverse=True)
            features[name] = codes
            category_map[column] = categories.tolist()
    names = [str(name) for name in features.columns]
    return Adult(features.to_numpy(np.int64), target, names, category_map, source)
