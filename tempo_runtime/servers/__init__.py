"""Run MLServer on this machine: choose its models, write its settings, and watch its process and log."""
