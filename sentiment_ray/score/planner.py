"""Plans a run: reads the footers, checks the columns and cuts the files into units; writes nothing."""

from dataclasses import replace

from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.input_files.listing import Listing
from sentiment_ray.score.columns import list_added_fields
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.contract import check_schemas
from sentiment_ray.score.footers import read_footers
from sentiment_ray.score.identity import Identity
from sentiment_ray.score.pins import Pins
from sentiment_ray.score.plan import NewPlan, make_plan


def plan_run(
    config: ScoreConfig, identity: Identity, bundle: PackedBundle, listing: Listing, pins: Pins | None
) -> NewPlan:
    """Return the plan of all units; DataError when no file can be scored, as when the text column is in none."""
    footers = read_footers(listing.files)
    added = [field.name for field in list_added_fields(config, bundle.manifest.labels)]
    checked = check_schemas(listing.files, footers, config, added)
    new = make_plan(config, identity, listing.files, checked.footers, pins)
    return replace(new, plan=replace(new.plan, types=checked.types, left_out_files=listing.describe_left_out()))
