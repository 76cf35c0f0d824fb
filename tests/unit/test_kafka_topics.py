"""Making topics while the brokers are still electing: whoever asks is told to ask again, not that something broke."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from services.kafka.topics import made_by


class Electing(AIOKafkaAdminClient):
    """A client whose brokers know of no controller yet."""

    def __init__(self):
        self._client = self
        self.cluster = self
        self.controller = None
        self._version_info = {19: (0, 0)}  # create_topics

    async def force_metadata_update(self):
        return True


async def test_brokers_without_a_controller_count_as_not_there_yet():
    with pytest.raises(KafkaError):
        await made_by(Electing(), [NewTopic("t", 1, 1)])
