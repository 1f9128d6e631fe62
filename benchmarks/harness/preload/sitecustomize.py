"""Import what models need when a server of several starts.

MLServer and pipelines load models in several threads, and two threads that import parts of scikit-learn at
the same time can fail.
"""

import contextlib

with contextlib.suppress(ImportError):
    import sklearn.ensemble
    import sklearn.linear_model
    import xgboost  # noqa: F401
