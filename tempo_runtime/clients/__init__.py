"""Call a model on a server, over HTTP or gRPC."""
