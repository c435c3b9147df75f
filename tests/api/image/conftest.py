from tests.api.service_cloud import api, busy_api

__all__ = ["api", "busy_api"]
