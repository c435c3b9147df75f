"""The routes and rules of the Image API."""

from html import escape
from http import HTTPStatus

from renova.api.dispatch import Service
from renova.api.http import Reply, Route
from renova.api.image import data, images, schemas
from renova.operations.cloud import Cloud

_SEEN = (
    "rule:admin_api or (role:reader and "
    "(project_id:%(project_id)s or 'community':%(visibility)s or 'public':%(visibility)s))"
)

# Glance's names. An image may be shared with its own project only: there are no members.
POLICY = {
    "get_images": "rule:project_reader_or_admin",
    "get_image": _SEEN,
    "download_image": _SEEN,
    "add_image": "rule:project_member_or_admin",
    "modify_image": "rule:project_member_or_admin",
    "delete_image": "rule:project_member_or_admin",
    "upload_image": "rule:project_member_or_admin",
    "publicize_image": "rule:admin_api",
    "communitize_image": "rule:project_member_or_admin",
}

_ROUTES = [
    Route("GET", "/schemas/image", schemas.image),
    Route("GET", "/schemas/images", schemas.images),
    Route("GET", "/images", images.every),
    Route("POST", "/images", images.create),
    Route("GET", "/images/{image}", images.one),
    Route("PATCH", "/images/{image}", images.update),
    Route("DELETE", "/images/{image}", images.delete),
    Route("PUT", "/images/{image}/file", data.upload, streams=True),
    Route("GET", "/images/{image}/file", data.download),
    Route("PUT", "/images/{image}/tags/{tag}", images.tag),
    Route("DELETE", "/images/{image}/tags/{tag}", images.untag),
]


def service(cloud: Cloud) -> Service:
    """Return the Image API."""
    return Service("image", ("/image/v2",), _ROUTES, error)


def error(status: int, message: str, request_id: str) -> Reply:
    """Answer as Glance does: errors are pages."""
    title = f"{status} {HTTPStatus(status).phrase}"
    page = (
        f"<html>\n <head>\n  <title>{title}</title>\n </head>\n"
        f" <body>\n  <h1>{title}</h1>\n  {escape(message)}<br /><br />\n </body>\n</html>"
    )
    return Reply(status, page.encode(), {"content-type": "text/html; charset=UTF-8"})
