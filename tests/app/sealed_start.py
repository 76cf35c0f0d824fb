"""A folder in which a secret is sealed, and what starts on it: with its key, with another, with none."""

import asyncio
import os
from base64 import b64encode

import pytest
from click.testing import CliRunner

from services.app import open_app
from services.cli import main
from services.settings import SettingsError
from tests.app.rig import settings, together
from tests.processes import environment, settings_for

KEY, OTHER_KEY = (b64encode(os.urandom(32)).decode() for _ in range(2))
REFUSAL = "An access token or a relay's secret cannot be opened: sealed under a key that is not in COEXIST_ENCRYPTION"


async def check(folder, **more):
    """Exit code and output of `coexist run --check`."""
    given = settings_for(folder) | {"port": 0, "admin_port": 0, "partitions": 2} | more
    result = await asyncio.to_thread(CliRunner().invoke, main, ["run", "--check"], env=environment(**given))
    return result.exit_code, result.output


async def refused_without_its_key(folder, keep):
    """`keep` has a service seal a secret; afterwards start and check are refused without the key."""
    async with together(folder, about={"encryption_keys": KEY}) as rig:
        assert (await keep(rig)).is_success
    assert (await check(folder, encryption_keys=f"{OTHER_KEY},{KEY}"))[0] == 0
    for keys in ({}, {"encryption_keys": OTHER_KEY}, {"encryption_keys": OTHER_KEY, "encrypt_content": "1"}):
        with pytest.raises(SettingsError, match=REFUSAL):
            async with open_app(settings(folder, **keys)):
                pass
        code, output = await check(folder, **keys)
        assert (code, "✗ encryption keys" in output, REFUSAL in output) == (2, True, True), output
    assert (await check(folder, encryption_key_lost="1"))[0] == 0
