"""FastAPI, in this environment: both models in its process, in threads."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import models
import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()
predictors = [models.load_sklearn(), models.load_xgboost()]
pool = ThreadPoolExecutor(4)


@app.post("/predict")
async def predict(request: Request) -> Response:
    rows = np.array(orjson.loads(await request.body())["x"])
    loop = asyncio.get_running_loop()
    one, two = await asyncio.gather(
        *(loop.run_in_executor(pool, model, rows) for model in predictors)
    )
    content = orjson.dumps((one + two) / 2, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
