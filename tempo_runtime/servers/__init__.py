"""A real MLServer on this machine: which models it serves, what it reads, its process and its log."""
