"""The former name of `tempo_runtime.lint`."""

from tempo_runtime._util.moved import names_of

__getattr__ = names_of(__name__, "tempo_runtime.lint")
