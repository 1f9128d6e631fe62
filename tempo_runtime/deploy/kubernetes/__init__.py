"""Deploy on Kubernetes: apply objects, and watch until they are ready."""
