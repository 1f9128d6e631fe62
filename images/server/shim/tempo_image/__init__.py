"""Modules for the image's programs."""
