from tests.api.service_cloud import api

__all__ = ["api"]
