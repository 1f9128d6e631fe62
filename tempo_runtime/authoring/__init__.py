"""What an author writes: models, pipelines, and their decorators."""
