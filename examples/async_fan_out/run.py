"""Save the pipeline and its models, deploy them on this machine, and plan trips."""

import asyncio
import time

import tempo_runtime as tempo
from trip import SECONDS, Trip, flights, hotels, weather

CITIES = ["Lisbon", "Oslo", "Prague", "Rome"]


async def plan_all(remote: tempo.RemoteModel[str]) -> list[str]:
    """Plan a trip to each city, all at the same time."""
    plans: list[str] = await asyncio.gather(*(remote.aio.predict(city=city) for city in CITIES))
    return plans


if __name__ == "__main__":
    for each in (flights, hotels, weather, Trip):
        tempo.save(each)
    with tempo.deploy_local(Trip) as remote:
        start = time.perf_counter()
        print(*asyncio.run(plan_all(remote)), sep="\n")
        seconds = time.perf_counter() - start
    calls = 3 * len(CITIES)
    print(f"{calls} calls of {SECONDS} s each in {seconds:.1f} s")
