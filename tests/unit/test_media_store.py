"""One contract, two stores: a folder, and an object store (the one in memory stands for S3 and its likes)."""

import asyncio
import contextlib
import os
import time
from hashlib import sha256

import pytest

from services.media.folder import MediaFolder
from services.media.store import LEFT_BEHIND_S, Part, open_store, reference
from services.settings import SettingsError
from tests.media_kept import get, put

HOLA = b"hola " * 100_000
DIGEST = sha256(HOLA).hexdigest()


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return open_store(f"{tmp_path}/kept" if request.param == "folder" else "memory:///", tmp_path)


async def test_what_is_kept_is_read_again_under_a_name_of_its_content(store):
    ref = await put(store, HOLA)
    assert ref == reference(DIGEST) == f"{DIGEST[:2]}/{DIGEST}"
    assert await get(store, ref) == HOLA


async def test_an_empty_file_is_kept_too(store):
    assert await get(store, await put(store, b"")) == b""


async def test_the_same_content_twice_is_one_and_may_come_at_the_same_moment(store):
    refs = await asyncio.gather(*(put(store, HOLA) for _ in range(8)))
    assert set(refs) == {reference(DIGEST)}
    assert await get(store, refs[0]) == HOLA
    assert list(store.incoming.iterdir()) == []


async def test_what_is_removed_is_gone_and_removing_it_again_is_silent(store):
    ref = await put(store, HOLA)
    await store.remove(ref)
    with pytest.raises(FileNotFoundError):
        await get(store, ref)
    await store.remove(ref)
    assert await get(store, await put(store, HOLA)) == HOLA


async def test_what_was_not_kept_leaves_no_file(store):
    with contextlib.suppress(RuntimeError), Part(store.incoming) as part:
        part.write(HOLA)
        raise RuntimeError
    assert list(store.incoming.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        await get(store, reference(DIGEST))


async def test_a_file_that_a_killed_process_left_is_swept_and_one_under_way_is_not(tmp_path):
    store = MediaFolder(tmp_path)
    left, under_way = Part(store.incoming), Part(store.incoming)
    left.write(HOLA)
    long_ago = time.time() - LEFT_BEHIND_S - 1
    os.utime(left.path, (long_ago, long_ago))
    MediaFolder(tmp_path)
    assert not left.path.exists()
    assert under_way.path.exists()
    for part in (left, under_way):
        part.__exit__(None)


async def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_so(tmp_path):
    store = MediaFolder(tmp_path)
    (tmp_path / DIGEST[:2]).write_text("a file where a folder should be")
    with pytest.raises(OSError):
        await put(store, HOLA)
    assert list(store.incoming.iterdir()) == []


def test_a_part_knows_its_size_its_digest_and_its_first_bytes(tmp_path):
    with Part(tmp_path) as part:
        for at in range(0, len(HOLA), 700):
            part.write(HOLA[at : at + 700])
        assert (part.bytes, part.sha256, part.head) == (len(HOLA), DIGEST, HOLA[:1024])


def test_the_default_is_a_folder_in_the_data_folder_and_a_file_url_is_a_folder(tmp_path):
    assert open_store("", tmp_path).incoming == tmp_path / "media" / "incoming"
    assert open_store(f"file://{tmp_path}/there", tmp_path).incoming == tmp_path / "there" / "incoming"


def test_an_address_that_is_no_store_is_one_sentence_without_the_address(tmp_path):
    with pytest.raises(SettingsError) as refused:
        open_store("gopher://secret@bucket", tmp_path)
    assert "s3://bucket/prefix" in str(refused.value)
    assert "secret" not in str(refused.value)
