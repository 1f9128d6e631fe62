"""A pipeline and what it calls, for people: `reading` -> `nodes`."""
