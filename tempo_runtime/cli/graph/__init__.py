"""A pipeline and what it calls, drawn: `reading` -> `nodes` -> `tree`, `mermaid`, `svg`."""
