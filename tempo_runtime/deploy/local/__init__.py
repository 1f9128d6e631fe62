"""Deploy on this machine, as processes or containers."""
