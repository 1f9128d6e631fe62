"""Start the language model, deploy the pipeline beside it, and print words as they arrive."""

import sys

from server import language_model
from stand_in import Triton
from writer import writer

import tempo_runtime as tempo

if __name__ == "__main__":
    prompt = " ".join(sys.argv[1:]) or "the owl"
    tempo.save(writer())
    with Triton(language_model()) as triton:
        child = {"TEMPO_RUNTIME_MODELS__MODEL__URL": triton.url}
        with tempo.deploy_local("artifacts/writer", tempo.LocalOptions(env=child)) as remote:
            print(prompt, end="", flush=True)
            for word in remote.stream(prompt):
                print(f" {word}", end="", flush=True)
            print()
