"""Sealed media: the same port over a folder or a bucket, and nothing of a file on the disk."""

import asyncio
import os
from hashlib import sha256

import pytest

from services.media.sealed import MAGIC, SealedMedia
from services.media.store import CHUNK_BYTES, open_store
from services.sealing.content import Seals
from tests.media_kept import get, put

KEY, OTHER = b"1" * 32, b"2" * 32
SIZES = [0, 1, 20, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 7]
CANARY = b"a face that nobody else may see "


@pytest.fixture(params=["folder", "memory"])
def media(request, tmp_path):
    return open_store(f"{tmp_path}/kept" if request.param == "folder" else "memory:///", tmp_path)


def content(size):
    return (CANARY * (size // len(CANARY) + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_of_any_size_comes_back_as_it_was_and_lies_sealed(media, size):
    sealed, data = SealedMedia(media, Seals([KEY], wanted=True)), content(size)
    ref = await put(sealed, data)
    assert ref.endswith(sha256(data).hexdigest())
    assert await get(sealed, ref) == data
    assert CANARY not in await get(media, ref)
    assert await get(SealedMedia(media, Seals([OTHER, KEY], wanted=True)), ref) == data
    assert list(media.incoming.iterdir()) == []


async def test_the_same_content_again_is_the_same_reference_and_gone_once_it_is_removed(media):
    sealed = SealedMedia(media, Seals([KEY], wanted=True))
    ref = await put(sealed, CANARY)
    assert await put(sealed, CANARY) == ref
    await sealed.remove(ref)
    with pytest.raises(FileNotFoundError):
        await get(sealed, ref)


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_that_was_never_sealed_is_read_as_it_is(media, size):
    data = content(size)
    ref = await put(media, data)
    assert await get(SealedMedia(media, Seals([KEY], wanted=True)), ref) == data
    unwanted = SealedMedia(media, Seals([KEY], wanted=False))
    assert await get(media, await put(unwanted, data + b"!")) == data + b"!"


@pytest.mark.parametrize("cut", [1, 17, CHUNK_BYTES + 16])
async def test_a_file_that_was_cut_off_does_not_pass_for_whole(tmp_path, cut):
    folder = open_store(f"{tmp_path}/kept", tmp_path)
    sealed = SealedMedia(folder, Seals([KEY], wanted=True))
    ref = await put(sealed, content(2 * CHUNK_BYTES))
    file = tmp_path / "kept" / ref
    await asyncio.to_thread(lambda: file.write_bytes(file.read_bytes()[:-cut]))
    with pytest.raises(OSError, match="cut off or changed"):
        await get(sealed, ref)


@pytest.mark.parametrize("size", [0, 1, 200, CHUNK_BYTES])
async def test_a_file_that_begins_as_if_it_were_sealed_is_read_and_sealed_as_any_other(media, size):
    data = MAGIC + content(size)
    ref = await put(media, data)
    now = SealedMedia(media, Seals([KEY], wanted=True))
    assert await get(now, ref) == data
    assert [await now.seal_anew(ref), await now.seal_anew(ref)] == [True, False]
    assert await get(media, ref) != data
    assert await get(now, ref) == data
    plain = SealedMedia(media, Seals([KEY], wanted=False))
    await plain.seal_anew(ref)
    await plain.seal_anew(ref)
    assert await get(media, ref) == await get(plain, ref) == data


class Full:
    """A store that takes nothing."""

    def __init__(self, incoming):
        self.incoming = incoming

    async def keep(self, file, sha256):
        raise OSError("no room")

    async def replace(self, file, ref):
        raise OSError("no room")


async def test_what_could_not_be_kept_leaves_no_copy_behind(tmp_path):
    file, incoming = tmp_path / "file", tmp_path / "incoming"
    file.write_bytes(CANARY)
    incoming.mkdir()
    sealed = SealedMedia(Full(incoming), Seals([KEY], wanted=True))
    for work in (sealed.keep(file, "ab"), sealed.replace(file, "ab"), sealed.replace(tmp_path / "none", "ab")):
        with pytest.raises(OSError, match=r"no room|No such file"):
            await work
        assert list(incoming.iterdir()) == []


async def test_what_was_cancelled_half_way_leaves_no_copy_behind(tmp_path):
    pipe, incoming = tmp_path / "pipe", tmp_path / "incoming"
    os.mkfifo(pipe)
    incoming.mkdir()
    work = asyncio.create_task(SealedMedia(Full(incoming), Seals([KEY], wanted=True)).keep(pipe, "ab"))
    writer = await asyncio.to_thread(pipe.open, "wb")
    work.cancel()
    await asyncio.wait([work])
    await asyncio.to_thread(writer.close)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert list(incoming.iterdir()) == []


async def test_without_its_key_a_file_cannot_be_read(media):
    ref = await put(SealedMedia(media, Seals([KEY], wanted=True)), CANARY)
    with pytest.raises(OSError, match="COEXIST_ENCRYPTION_KEYS"):
        await get(SealedMedia(media, Seals([OTHER], wanted=True)), ref)


@pytest.mark.parametrize("size", SIZES)
async def test_sealing_anew_brings_every_file_to_the_form_of_now_and_only_those_that_need_it(media, size):
    data = content(size)
    ref = await put(media, data)
    old = await put(SealedMedia(media, Seals([OTHER], wanted=True)), data + b"!")
    now = SealedMedia(media, Seals([KEY, OTHER], wanted=True))
    found = {one async for one in now.refs()}
    assert found == {ref, old}
    assert [await now.seal_anew(one) for one in (ref, old, ref, old)] == [True, True, False, False]
    only = SealedMedia(media, Seals([KEY], wanted=True))
    assert (await get(only, ref), await get(only, old)) == (data, data + b"!")
    plain = SealedMedia(media, Seals([KEY], wanted=False))
    assert [await plain.seal_anew(one) for one in (ref, old, ref)] == [True, True, False]
    assert await get(media, ref) == data
    assert list(media.incoming.iterdir()) == []
