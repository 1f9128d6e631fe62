"""Write text word by word: the loop is Python, and the model is on a server that speaks Triton's V2."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tempo_runtime import Children, Model, ModelFramework, PipelineModels, pipeline, predictmethod

CORPUS = Path(__file__).with_name("corpus.txt")
END = "."  # between two lines

language_model = Model(
    "language-model",
    platform=ModelFramework.Triton,
    inputs={"INPUT_IDS": NDArray[np.int64]},
    outputs={"LOGITS": NDArray[np.float32]},
)


def words_of(text: str) -> list[str]:
    """Split a text into words, with `END` after each line."""
    return [word for line in text.splitlines() for word in (*line.split(), END)]


@pipeline("writer", models=PipelineModels(model=language_model), local_folder="artifacts/writer")
class Writer:
    models: Children

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self.ids = {word: number for number, word in enumerate(vocabulary)}

    @predictmethod
    def write(self, prompt: str, words: int = 12, seed: int = 0) -> Iterator[str]:
        """Yield the words that follow a prompt, each as soon as the model has chosen it."""
        ids = [self.ids[word] for word in prompt.split() if word in self.ids]
        if not ids:
            raise ValueError(f"the model knows none of the words in {prompt!r}")
        draw = np.random.default_rng(seed)
        for _ in range(words):
            logits = self.models.model([ids])["LOGITS"][0, -1].astype(float)
            chances = np.exp(logits - logits.max())
            ids.append(int(draw.choice(len(chances), p=chances / chances.sum())))
            yield self.vocabulary[ids[-1]]


def writer() -> Writer:
    """Make the pipeline with the vocabulary of the corpus."""
    return Writer(sorted({*words_of(CORPUS.read_text())}))
