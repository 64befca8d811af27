"""What pages are made of beside their text: style, scripts and icons, ours and Bootstrap's, all served from here."""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import flask_bootstrap
from flask import Blueprint, Flask, Response, abort, request, url_for
from markupsafe import Markup

bp = Blueprint("assets", __name__)

OURS = Path(__file__).parent / "static"
BOOTSTRAP = Path(flask_bootstrap.__file__).parent / "static" / "bootstrap5"
ICONS = BOOTSTRAP / "icons" / "bootstrap-icons.svg"
THEIRS = (BOOTSTRAP / "css" / "bootstrap.min.css",)
FOR_A_YEAR = "public, max-age=31536000, immutable"
# A page of another release, while one replaces the other, asks for its own version and gets ours.
FOR_THIS_PAGE = "no-cache"


@dataclass(frozen=True)
class Asset:
    """A file as it is sent; its version is in its address, so that a browser may keep it."""

    mimetype: str
    version: str
    content: bytes
    compressed: bytes

    @classmethod
    def read(cls, path: Path) -> "Asset":
        content = path.read_bytes()
        version = hashlib.sha256(content).hexdigest()[:12]
        mimetype = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(mimetype, version, content, gzip.compress(content, mtime=0))


@cache
def assets() -> dict[str, Asset]:
    return {path.name: Asset.read(path) for path in (*THEIRS, *sorted(OURS.iterdir())) if path.is_file()}


@bp.get("/assets/<version>/<name>")
def file(version: str, name: str) -> Response:
    asset = assets().get(name) or abort(404)
    packed = "gzip" in request.accept_encodings
    response = Response(asset.compressed if packed else asset.content, mimetype=asset.mimetype)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = FOR_A_YEAR if version == asset.version else FOR_THIS_PAGE
    return response


def asset(name: str) -> str:
    """The address of a file."""
    return url_for("assets.file", version=assets()[name].version, name=name)


@cache
def icon(name: str, label: str = "") -> Markup:
    """An icon of Bootstrap's; it is hidden from a screen reader unless it has a label."""
    found = re.search(rf'<symbol[^>]*viewBox="([^"]*)"[^>]* id="{re.escape(name)}">(.*?)</symbol>', icons(), re.DOTALL)
    if found is None:
        raise KeyError(f"Bootstrap has no icon {name}")
    told = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" viewBox="{}" fill="currentColor" {}>{}</svg>').format(
        found[1], told, Markup(found[2])
    )


@cache
def icons() -> str:
    return ICONS.read_text()


def init_assets(app: Flask) -> None:
    app.register_blueprint(bp)
    app.jinja_env.globals.update(asset=asset, icon=icon)
