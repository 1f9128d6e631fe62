"""An async pipeline that asks three models at the same time, each of which takes a while."""

import asyncio

from tempo_runtime import Children, PipelineModels, model, pipeline, predictmethod

SECONDS = 0.3  # that each model takes, as a service elsewhere would


@model("flights", local_folder="artifacts/flights")
async def flights(city: str) -> float:
    await asyncio.sleep(SECONDS)
    return 80.0 + 10 * len(city)


@model("hotels", local_folder="artifacts/hotels")
async def hotels(city: str, nights: int) -> float:
    await asyncio.sleep(SECONDS)
    return nights * (50.0 + 5 * len(city))


@model("weather", local_folder="artifacts/weather")
async def weather(city: str) -> str:
    await asyncio.sleep(SECONDS)
    return "sun" if len(city) % 2 else "rain"


@pipeline(
    "trip",
    models=PipelineModels(flights=flights, hotels=hotels, weather=weather),
    local_folder="artifacts/trip",
)
class Trip:
    models: Children

    @predictmethod
    async def plan(self, city: str, nights: int = 2) -> str:
        flight, hotel, weather = await asyncio.gather(
            self.models.flights(city),
            self.models.hotels(city, nights),
            self.models.weather(city),
        )
        return f"{city}: {weather}, {nights} nights, {flight + hotel:.0f} euros"
