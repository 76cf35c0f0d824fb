"""A process keeps its name over a restart, and no two processes have the same one."""

import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack

from services.owner import FILE_NAME, own_name

HOLD = """
import asyncio, sys, pathlib
from contextlib import AsyncExitStack
from services.owner import own_name
async def hold():
    async with AsyncExitStack() as stack:
        print(own_name(pathlib.Path(sys.argv[1]), stack), flush=True)
        await asyncio.Event().wait()
asyncio.run(hold())
"""


def start(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def test_a_killed_process_has_its_name_again_when_it_comes_back(tmp_path):
    process, name = start(tmp_path)
    kill(process)
    async with AsyncExitStack() as stack:
        assert own_name(tmp_path, stack) == name


async def test_two_processes_in_one_folder_have_different_names(tmp_path):
    process, name = start(tmp_path)
    try:
        async with AsyncExitStack() as stack:
            assert own_name(tmp_path, stack) != name
    finally:
        kill(process)
    async with AsyncExitStack() as stack:
        assert own_name(tmp_path, stack) == name


async def test_a_folder_copied_from_another_host_and_a_torn_name_give_a_new_one(tmp_path):
    for stood in ("elsewhere/0123456789ab", f"{os.uname().nodename}/0123", "\x00"):
        (tmp_path / FILE_NAME).write_text(stood)
        async with AsyncExitStack() as stack:
            name = own_name(tmp_path, stack)
        assert name != stood
        assert (tmp_path / FILE_NAME).read_text() == name
