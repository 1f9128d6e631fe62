"""The same composition on other platforms, each in a separate virtual environment."""
