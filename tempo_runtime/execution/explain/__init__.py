"""What makes alibi's explainers right when several requests use one, and fast.

Nothing here imports alibi: an explainer is known by the package its class comes from, once the
author's own pipeline has loaded it.
"""
