"""The census, split for training and for testing as the mission's example splits it."""

import numpy as np

from src.adult import load_adult

TRAINING_ROWS = 30000


class AdultData:
    """Training and test rows of the Adult census."""

    def __init__(self):
        adult = load_adult()
        self.feature_names = adult.feature_names
        self.category_map = adult.category_map
        self.source = adult.source
        np.random.seed(0)
        rows = np.random.permutation(np.column_stack([adult.data, adult.target]))
        train, test = rows[:TRAINING_ROWS], rows[TRAINING_ROWS + 1 :]
        self.X_train, self.Y_train = train[:, :-1], train[:, -1]
        self.X_test, self.Y_test = test[:, :-1], test[:, -1]

    def in_words(self, row):
        """A row as a person reads it: feature -> value."""
        return {
            name: self.category_map[i][int(value)] if i in self.category_map else f"{value:g}"
            for i, (name, value) in enumerate(zip(self.feature_names, row))
        }
