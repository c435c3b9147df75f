from tests.api.ha.ha_api import api

__all__ = ["api"]
