"""A bandit: it chooses between two models, and learns from rewards which one is better."""

from typing import Any

import numpy as np

from tempo_runtime import (
    Children,
    PipelineModels,
    State,
    StateOptions,
    model,
    pipeline,
    predictmethod,
)

ARMS = ("short", "long")


@model("short-offer", local_folder="artifacts/short-offer")
def short_offer(customer: str) -> str:
    return f"{customer}, 10 % off."


@model("long-offer", local_folder="artifacts/long-offer")
def long_offer(customer: str) -> str:
    return f"Dear {customer}, for ten years with us you get 10 % off everything."


@pipeline(
    "bandit",
    models=PipelineModels(short=short_offer, long=long_offer),
    state=StateOptions(),
    local_folder="artifacts/bandit",
)
class Bandit:
    models: Children
    state: State

    @predictmethod
    def predict(
        self, customer: str = "", arm: str = "", reward: float = 0.0, feedback: str = ""
    ) -> dict[str, Any]:
        """Make an offer to a customer, or learn: `arm` got `reward`; `feedback` is the id of that."""
        if arm:
            return self._learn(arm, reward, feedback)
        chosen = max(ARMS, key=self._sample)
        return {"arm": chosen, "offer": getattr(self.models, chosen)(customer)}

    def _learn(self, arm: str, reward: float, feedback: str) -> dict[str, Any]:
        # With `once`, a feedback that a client sends again, as it could not know better, counts once.
        once = feedback or None
        plays = self.state.incr(f"plays:{arm}", once=once)
        return {"plays": plays, "rewards": self.state.incr(f"rewards:{arm}", reward, once=once)}

    def _sample(self, arm: str) -> float:
        """Thompson sampling: draw from what is known about the arm's rewards."""
        plays, rewards = self.state.get(f"plays:{arm}", 0), self.state.get(f"rewards:{arm}", 0.0)
        return float(np.random.default_rng().beta(1 + rewards, 1 + plays - rewards))
