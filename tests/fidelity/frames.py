import pandas as pd


def cases():
    return {"numbers": pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})}
