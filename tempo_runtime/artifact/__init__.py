"""The folder that `save` writes and `load` reads."""
