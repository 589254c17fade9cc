"""Renders a page that loads nothing, from a template and values. Knows the look of all pages, the content of none."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from sentiment_ray.report import formats

FILTERS = {
    "number": formats.format_number,
    "percent": formats.format_percent,
    "duration": formats.format_duration,
    "size": formats.format_size,
    "measure": formats.format_measure,
    "signed": formats.format_signed,
    "interval": formats.format_interval,
    "signed_interval": formats.format_signed_interval,
}


def render_page(template: str, values: dict[str, Any]) -> str:
    """Return the page that a template makes of `values`. The template is named by its path inside the package.

    Every value is escaped. A template extends `report/page.html.j2`, which needs `headline`. It may use FILTERS and the
    macros of `report/parts.html.j2`.
    """
    environment = Environment(
        loader=FunctionLoader(_read_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    page = environment.get_template(template).render(values)
    # A file name may hold bytes that are not UTF-8. Python keeps them as lone surrogates, which a page cannot hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _read_template(name: str) -> str:
    return resources.files("sentiment_ray").joinpath(name).read_text(encoding="utf-8")
