"""LitServe: one API that has both models, and answers the requests that wait together."""

# LitServe reads the annotation of `decode_request`, which must not be a string.

import os
from concurrent.futures import ThreadPoolExecutor

import litserve
import models
import numpy as np


class Mean(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.models = [models.load_sklearn(), models.load_xgboost()]
        self.pool = ThreadPoolExecutor(2)

    def decode_request(self, request: dict) -> models.Rows:
        return np.array(request["x"])

    def batch(self, inputs: list[models.Rows]) -> list[models.Rows]:
        return inputs

    def predict(self, batch: list[models.Rows]) -> list[models.Rows]:
        rows = np.concatenate(batch)
        one, two = self.pool.map(lambda model: model(rows), self.models)
        return np.split((one + two) / 2, np.cumsum([len(rows) for rows in batch])[:-1])

    def unbatch(self, output: list[models.Rows]) -> list[models.Rows]:
        return output

    def encode_response(self, output: models.Rows) -> list[float]:
        return output.tolist()


if __name__ == "__main__":
    api = Mean(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        generate_client_file=False,
        log_level="error",
    )
