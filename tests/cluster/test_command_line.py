"""From a shell to a real cluster, on each platform that it has."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempo_runtime import save, upload
from tests.cluster.conftest import Space
from tests.cluster.models import double, parent
from tests.helpers.command_line import run

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]


async def command(*words: object) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, "kubernetes", *words)


async def test_it_is_deployed_watched_and_removed_from_a_shell(
    space: Space, tmp_path: Path
) -> None:
    for each in (double, parent):
        folder = save(each, str(tmp_path / each.get_tempo().details.name))
        await asyncio.to_thread(upload, folder)
    remote: Any = space.options().remote_options
    stated = remote.model_dump(mode="json", exclude_unset=True)
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"platform": space.platform, **stated}))
    where = ("--options", file)
    code, printed, told = await command("deploy", folder, *where, "--json")
    assert code == 0, told
    assert {model["state"] for model in json.loads(printed)["models"]} == {"ready"}
    assert (await command("status", "cluster-parent", *where))[0] == 0
    assert (await command("wait", "cluster-parent", *where))[0] == 0
    assert (await command("diff", folder, *where))[:2] == (0, "")
    code, printed, told = await command("logs", "cluster-parent", *where)
    assert code == 0, told
    assert "cluster-parent" in printed
    assert "cluster-double" in (await command("list", *where))[1]
    assert (await command("undeploy", "cluster-parent", *where))[0] == 0
    assert "Nothing is deployed" in (await command("list", *where))[1]
