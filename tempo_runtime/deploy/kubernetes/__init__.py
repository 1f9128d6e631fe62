"""Deploying on Kubernetes: what is applied there, and how it gets on."""
