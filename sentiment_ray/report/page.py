"""Renders a page that needs no network from a template and values; knows the look of all pages, the content of none."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from sentiment_ray.report import formats

FILTERS = ("number", "percent", "duration", "size", "measure", "signed", "interval", "signed_interval")


def render_page(template: str, values: dict[str, Any]) -> str:
    """Return the page that a template, named by its path below the package, makes of `values`.

    Every value is escaped. A template extends `report/page.html.j2`, which needs `headline`, and may use the macros of
    `report/parts.html.j2` and the functions of `formats` as filters.
    """
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS}
    page = environment.get_template(template).render(values)
    # File names may hold bytes that are no UTF-8; Python carries them as lone surrogates, which no page can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _source(name: str) -> str:
    return resources.files("sentiment_ray").joinpath(name).read_text(encoding="utf-8")
