"""A file put into a media store and read from it again, as the service does both."""

from services.media.store import Part


async def put(store, data):
    """Keep bytes; their reference."""
    with Part(store.incoming) as part:
        part.write(data)
        part.flush()
        return await store.keep(part.path, part.sha256)


async def get(store, ref):
    """The bytes under a reference."""
    return b"".join([chunk async for chunk in store.read(ref)])
