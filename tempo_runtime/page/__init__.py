"""The files of the page that a server has at `/`."""
