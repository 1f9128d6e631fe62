"""Import what models need when a server of several starts.

MLServer and pipelines load models in several threads, and two threads that import parts of scikit-learn
at the same time can fail.
"""

import contextlib
import importlib

with contextlib.suppress(ImportError):
    for name in ("sklearn.ensemble", "sklearn.linear_model", "xgboost"):
        importlib.import_module(name)
