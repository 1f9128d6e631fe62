"""The same composition on other platforms, each in a virtual environment of its own."""
