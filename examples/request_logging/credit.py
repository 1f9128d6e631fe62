"""A pipeline that decides about credits, and a model that it calls; both log their requests."""

from tempo_runtime import (
    Children,
    InsightsOptions,
    PipelineModels,
    insights,
    model,
    pipeline,
    predictmethod,
)

PRIVATE = InsightsOptions(redact=("name", "iban"))


@model("score", local_folder="artifacts/score", insights=PRIVATE)
def score(income: float, debts: float) -> float:
    return round(income / (income + debts), 2)


@pipeline(
    "credit",
    models=PipelineModels(score=score),
    local_folder="artifacts/credit",
    insights=PRIVATE,
)
class Credit:
    models: Children

    @predictmethod
    def decide(self, person: dict[str, str], income: float, debts: float) -> str:
        found = self.models.score(income, debts)
        if found < 0.5:
            insights.log({"for": "the bank", "iban": person["iban"], "score": found})
            return "a person decides"
        return "yes"
