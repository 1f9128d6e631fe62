"""The public names as a type checker sees them. Checked, never run.

An error that is expected has a comment for each checker. Both report a comment that is not needed, so
each of these lines proves that a mistake in it is seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import tempo_runtime as tempo
from tempo_runtime import (
    Batching,
    Child,
    Children,
    DockerOptions,
    KServeOptions,
    LocalOptions,
    Model,
    ModelFramework,
    Pipeline,
    PipelineModels,
    RemoteModel,
    Seldon2Options,
    SeldonCoreOptions,
    State,
    StateOptions,
    deploy_local,
    deploy_remote,
    describe,
    load,
    loadmethod,
    manifest,
    model,
    pipeline,
    predictmethod,
)
from tempo_runtime.kubernetes import (
    KServeRemote,
    ModelOptions,
    SeldonRemote,
    diff,
    get_client,
    list_models,
    logs,
    status,
    undeploy,
    wait,
)

Rows = NDArray[np.float64]

forest = Model("forest", platform=ModelFramework.SKLearn, local_folder="forest", uri="s3://forest")
Model("forest", ModelFramework.SKLearn)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Model("forest", batching=Batching(max_rows=8, max_delay=0.01))
Model("forest", output="predict_proba")
Model("forest", output=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model("forest", batching=8)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Batching(max_row=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Batching(max_rows="8")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model("forest", plattform="")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# A state knows what its methods return.


@pipeline("counter", state=StateOptions(url="redis://redis", ready=True))
class Counter:
    state: State

    @predictmethod
    async def count(self, key: str) -> float:
        assert_type(await self.state.aio.incr(key), int)
        assert_type(await self.state.aio.incr(key, 0.5, once="id"), float)
        await self.state.aio.set(key, 1, expires="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return await self.state.aio.update(key, float)

    def now(self, key: str) -> int:
        assert_type(self.state.incr(key, 0.5), float)
        assert_type(self.state.compare_and_set(key, 1, 2), bool)
        assert_type(self.state.delete(key), bool)
        self.state.increment(key)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return self.state.incr(key)


assert_type(Counter().state, State)
assert_type(StateOptions().replace(timeout=1.0), StateOptions)
StateOptions(ulr="")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
StateOptions("redis://redis")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pipeline("counter", state=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# A class stays that class.


@pipeline("shop", uri="s3://shop", local_folder="shop", models=PipelineModels(forest=forest))
class Shop:
    models: Children

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.folder = describe(self).details.local_folder

    @loadmethod
    def load(self) -> None:
        self.names = ["a"]

    @predictmethod
    def total(self, rows: Rows, discount: float = 0.0) -> float:
        prices = self.models.forest(rows)
        assert_type(prices, Any)
        assert_type(self.models.forest.submit(rows), Future[Any])
        return float(np.sum(prices) * discount * self.factor)


assert_type(Shop, type[Shop])
shop = Shop(factor=2.0)
assert_type(shop, Shop)
assert_type(shop.total(np.ones(3), discount=0.5), float)
assert_type(shop.models, Children)
assert_type(shop.folder, str | None)
shop.totl(np.ones(3))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
shop.total(np.ones(3), discont=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
shop.total(np.ones(3), discount="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
shop.total()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Shop(facto=2.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pipeline("shop", "s3://shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pipeline("shop", model=PipelineModels())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pipeline("shop")(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# An instance can be called, and a type checker sees it where the class says so.


@pipeline("shop-to-call")
class CalledShop:
    @predictmethod
    def total(self, rows: Rows, discount: float = 0.0) -> float:
        return float(rows.sum() * discount)

    __call__ = total


@pipeline("async-shop-to-call")
class CalledAsyncShop:
    @predictmethod
    async def __call__(self, rows: Rows) -> float:
        return float(rows.sum())


async def called_instances() -> None:
    assert_type(CalledShop()(np.ones(3), discount=0.5), float)
    CalledShop()(np.ones(3), discont=0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await CalledAsyncShop()(np.ones(3)), float)
    shop(np.ones(3))  # type: ignore[operator]  # pyright: ignore[reportCallIssue]


# An `async def` awaits what a `def` gets.


@pipeline("async-shop", models=PipelineModels(forest=forest))
class AsyncShop:
    models: Children

    @predictmethod
    async def total(self, rows: Rows) -> float:
        return float(np.sum(await self.models.forest(rows)))


async def called_async() -> None:
    assert_type(await AsyncShop().total(np.ones(3)), float)


# A class of the author's own in the place of `Children` names the models, and what they answer.


class Models:
    forest: Child[NDArray[np.int64]]


@pipeline("typed-shop", models=PipelineModels(forest=forest))
class TypedShop:
    models: Models

    @predictmethod
    def labels(self, rows: Rows) -> NDArray[np.int64]:
        self.models.forrest(rows)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        assert_type(self.models.forest.submit(rows), Future[NDArray[np.int64]])
        return self.models.forest(rows)


class AwaitedModels:
    forest: Child[Awaitable[NDArray[np.int64]]]


@pipeline("typed-async-shop", models=PipelineModels(forest=forest))
class TypedAsyncShop:
    models: AwaitedModels

    @predictmethod
    async def labels(self, rows: Rows) -> NDArray[np.int64]:
        return await self.models.forest(rows)


# A function keeps its parameters and its result.


@pipeline("mean", models=PipelineModels(forest=forest, shop=Shop))
def mean(rows: Rows, weight: float = 1.0) -> float:
    return float(mean.models.forest(rows).mean()) * weight


@mean.loadmethod
def load_mean() -> None:
    mean.context.ready = True


takes_any_rows: Pipeline[..., float] = mean
assert_type(mean(np.ones(3), weight=2.0), float)
assert_type(mean.models, Children)
assert_type(mean.details.name, str)
mean(np.ones(3), wieght=2.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
mean.modles()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@model("plus")
async def plus(a: int, b: int) -> int:
    return a + b


@model("words")
def words(text: str) -> Iterator[str]:
    yield from text.split()


@model("async-words")
async def async_words(text: str) -> AsyncIterator[str]:
    yield text


async def called_functions() -> None:
    assert_type(await plus(1, 2), int)
    assert_type(words("a b"), Iterator[str])
    assert_type([word async for word in async_words("a b")], list[str])


# A deployed function has its parameters and its result; of a class the author says the result.


async def called_remotely(anything: Any) -> None:
    with deploy_local(mean) as remote:
        assert_type(remote.predict(np.ones(3), weight=2.0), float)
        assert_type(await remote.aio.predict(np.ones(3)), float)
        assert_type(remote.predict(np.ones(3), named=True), dict[str, Any])
        assert_type(await remote.aio.predict(np.ones(3), named=True), dict[str, Any])
        remote.predict(wieght=2.0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        remote.predct(np.ones(3))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    assert_type(deploy_local(plus).predict(1, 2), int)
    assert_type(deploy_remote(plus).predict(1, 2), int)
    assert_type(deploy_local(words).stream("a b"), Iterator[Any])
    assert_type(deploy_local(words).predict("a b"), Any)
    assert_type(deploy_local(Shop()).predict(rows=np.ones(3)), Any)
    assert_type(deploy_local(forest)(np.ones(3)), Any)
    assert_type(deploy_local("artifacts/shop"), RemoteModel)
    assert_type(deploy_local(anything), RemoteModel)
    total: RemoteModel[float] = deploy_remote(Shop)
    assert_type(total.predict(rows=np.ones(3)), float)
    deploy_local(Shop, stale="sav")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


# `load` gives what it is told to expect.

assert_type(load("artifacts/shop"), Any)
assert_type(load("artifacts/shop", as_=Shop), Shop)
assert_type(load("artifacts/mean", as_=mean)(np.ones(3)), float)
load("artifacts/shop", as_=Shop).totl()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
load("artifacts/shop", as_="Shop")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
tempo.lod("artifacts/shop")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


# Options are given as their class, which is checked, or as a dict, as tempo's users write them.

options = SeldonCoreOptions(
    remote_options=SeldonRemote(
        namespace="production",
        auth_secret_name="minio-secret",
        models={"forest": ModelOptions(min_replicas=1, max_replicas=3)},
    )
)
SeldonCoreOptions(remote_options={"namespace": "production", "authSecretName": "minio-secret"})
SeldonCoreOptions(remote_options={"namespace": "production", "authSecretName": "minio-secret"})
Seldon2Options(remote_options={"namespace": "production"})
KServeOptions(remote_options=KServeRemote(timeout=30))
SeldonRemote(namspace="production")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SeldonRemote(namespace=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
SeldonCoreOptions(remote=SeldonRemote())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
KServeOptions(remote_options=SeldonRemote())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
DockerOptions(image="server", timeout=30)
assert_type(options.replace(local_options=DockerOptions()), SeldonCoreOptions)
LocalOptions(image="server")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

assert_type(manifest(Shop, options), str)
assert_type(diff(Shop, options), str)
assert_type(undeploy("shop", options), list[str])
assert_type(status("shop", options)["shop"].reason, str)
if status("shop", options)["shop"].state == "raedy":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
    pass
assert_type(logs("shop", options, lines=5), dict[str, dict[str, str]])
assert_type([details.name for details in list_models(options)], list[str])
wait("shop", options, timeout=5)
wait("shop", options, timout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client: RemoteModel[float] = get_client("shop", options)
assert_type(client.predict(rows=np.ones(3)), float)
