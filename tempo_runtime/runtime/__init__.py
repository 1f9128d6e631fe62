"""MLServer's side: the class that serves a pipeline, and how its errors leave."""
