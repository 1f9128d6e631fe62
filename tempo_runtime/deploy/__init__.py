"""Deployments: pipelines and the models they call, on this machine and elsewhere."""
