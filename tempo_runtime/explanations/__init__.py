"""Read explanations without the explainer's library, and show them as pictures."""
