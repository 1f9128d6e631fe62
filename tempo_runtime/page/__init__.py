"""The page that a server shows at `/`: static files, without code of Python.

`index.html` loads `main.js`, a module of JavaScript that needs no build step, and nothing of another
host. The server's public HTTP API is all that it uses.
"""
