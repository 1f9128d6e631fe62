"""The former place of `tempo_runtime.manifest` and of the options for clusters."""

from tempo_runtime._util.moved import names_of

__getattr__ = names_of(__name__, "tempo_runtime")
