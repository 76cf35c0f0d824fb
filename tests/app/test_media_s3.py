"""The media store on an S3-compatible server, over HTTP: the same contract as the folder, and what goes wrong there."""

import subprocess
import sys
import time
from hashlib import sha256
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from services.media.folder import MediaFolder
from services.media.sealed import SealedMedia
from services.media.store import FOLDER_NAME, open_store, reference
from services.move.folder import Refused
from services.move.media import copy_media
from services.sealing.content import Seals
from tests.app.rig import settings, together
from tests.app.test_media import NUMBER, content_of, media_of, stored
from tests.media_kept import get, put
from tests.processes import free_port

BUCKET = "coexist-media"
DATA = b"bona tarda " * 200_000
START_S = 60.0
OPEN = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def endpoint():
    """An S3-compatible server with one bucket: its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + START_S
        while not _answers(url):
            assert server.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        OPEN(Request(f"{url}/{BUCKET}", method="PUT"))
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url):
    try:
        OPEN(url, timeout=5)
    except (URLError, ConnectionError, TimeoutError):
        return False
    return True


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """The usual variables of S3 clients."""
    for name, value in {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/media"


async def test_what_is_kept_is_read_again_once_per_content_and_removed(bucket, endpoint, tmp_path):
    store = open_store(bucket, tmp_path)
    ref = await put(store, DATA)
    assert ref == reference(sha256(DATA).hexdigest())
    assert await put(store, DATA) == ref
    assert await get(store, ref) == DATA
    with pytest.raises(HTTPError, match="403"):  # it is there, and for nobody without the key
        OPEN(f"{endpoint}/{BUCKET}/media/{ref}")
    assert list(store.incoming.iterdir()) == []
    await store.remove(ref)
    await store.remove(ref)
    with pytest.raises(FileNotFoundError):
        await get(store, ref)


async def test_files_in_a_bucket_are_found_and_sealed_where_they_lie(bucket, tmp_path):
    store = open_store(bucket, tmp_path)
    ref = await put(store, DATA)
    sealed = SealedMedia(store, Seals([b"1" * 32], wanted=True))
    assert ref in [one async for one in sealed.refs()]
    assert [await sealed.seal_anew(ref), await sealed.seal_anew(ref)] == [True, False]
    assert await get(sealed, ref) == DATA
    assert DATA not in await get(store, ref)
    await sealed.remove(ref)
    assert ref not in [one async for one in sealed.refs()]


async def test_a_bucket_that_is_not_there_keeps_nothing_and_says_so(bucket, tmp_path):
    store = open_store("s3://nobodys-bucket/media", tmp_path)
    with pytest.raises(OSError, match=r"\w+"):
        await put(store, DATA)
    assert list(store.incoming.iterdir()) == []


async def test_a_folder_s_files_go_to_the_bucket_when_the_installation_moves_and_stay_where_they_are(bucket, tmp_path):
    folder = MediaFolder(tmp_path / FOLDER_NAME)
    refs = {await put(folder, data): data for data in (DATA, b"adeu", b"")}
    (folder.incoming / "half").write_bytes(b"half of it")
    moving = settings(tmp_path, media_url=bucket)
    for _ in range(2):
        assert await copy_media(tmp_path / FOLDER_NAME, moving) == len(refs)
    store = open_store(bucket, tmp_path / "elsewhere")
    assert {ref: await get(store, ref) for ref in refs} == refs
    assert {ref: await get(folder, ref) for ref in refs} == refs
    assert [path.name for path in folder.incoming.iterdir()] == ["half"]


async def test_a_move_whose_bucket_is_not_there_says_so_in_a_sentence(bucket, tmp_path):
    folder = MediaFolder(tmp_path / FOLDER_NAME)
    await put(folder, DATA)
    with pytest.raises(Refused, match=r"COEXIST_MEDIA_URL: \w+\. .*run it again"):
        await copy_media(tmp_path / FOLDER_NAME, settings(tmp_path, media_url="s3://nobodys-bucket/media"))
    assert list(folder.incoming.iterdir()) == []


async def test_a_customers_picture_goes_to_the_bucket_and_comes_back(bucket, tmp_path):
    async with together(tmp_path, about={"media_url": bucket}) as rig:
        wamid = await rig.customer("mira", kind="image")
        media, content = await media_of(rig, wamid), await content_of(rig, wamid)
        assert content["id"] == media["id"]
        answer = await rig.admin.get("/v1/media", params={"number": NUMBER, "message": wamid})
        assert answer.content == await stored(rig, media)
        assert sha256(answer.content).hexdigest() == media["sha256"]
