"""Serve a small language model as Triton would: `python server.py` uses Triton's ports."""

import signal
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from stand_in import Tensor, Triton, TritonModel
from writer import CORPUS, words_of, writer


def language_model() -> TritonModel:
    """Count which word follows which two words of the corpus; its logits are the logarithms."""
    vocabulary = writer().vocabulary
    ids = [vocabulary.index(word) for word in words_of(CORPUS.read_text())]
    after_one, after_two = Counter(pairwise(ids)), Counter(zip(ids, ids[1:], ids[2:]))
    some = range(len(vocabulary))

    def logits(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [
            [
                [after_one[word, n] + 9 * after_two[before, word, n] + 1e-6 for n in some]
                for before, word in zip([None, *row], row)
            ]
            for row in given["INPUT_IDS"].tolist()
        ]
        return {"LOGITS": np.log(np.array(rows, np.float32))}

    return TritonModel(
        "language-model",
        inputs=(Tensor("INPUT_IDS", "INT64", (-1,)),),
        outputs=(Tensor("LOGITS", "FP32", (-1, len(vocabulary))),),
        function=logits,
        max_batch_size=8,
    )


if __name__ == "__main__":
    with Triton(language_model(), http=8000, grpc_port=8001) as triton:
        print(f"language-model at {triton.url} and {triton.grpc_url}; Ctrl-C ends it", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
