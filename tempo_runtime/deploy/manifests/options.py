"""The former place of options that are public in `tempo_runtime` and `tempo_runtime.kubernetes`."""

from tempo_runtime._util.moved import names_of

__getattr__ = names_of(__name__, "tempo_runtime.kubernetes", "tempo_runtime")
