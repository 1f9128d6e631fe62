"""The graph of a pipeline (`execution/graph`), drawn: `tree`, `mermaid`, `svg`."""
