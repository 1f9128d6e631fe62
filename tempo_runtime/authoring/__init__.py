"""Models, pipelines, and their decorators, for authors."""
