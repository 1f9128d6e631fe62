"""Runtimes of MLServer written by hand, as an expert would write them: what ours is compared with."""
