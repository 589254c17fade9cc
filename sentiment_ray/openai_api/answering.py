"""What the routes that ask a model share: the header of notices, and the OpenAPI description of their bodies."""

from typing import Any

from sentiment_ray.openai_api.chat_answer import list_notices
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.openai_api.loaded_models import LoadedModel
from sentiment_ray.openai_api.messages import Conversation
from sentiment_ray.openai_api.request_body import StrictBody

NOTICE_HEADER = "x-sentiment-ray-notice"


def list_notice_headers(
    conversation: Conversation, model: LoadedModel, config: OpenAiApiConfig, *, param: str
) -> dict[str, str]:
    """Return the header with what should be known of an answer. ApiError for a system message that is refused."""
    rule = config.unknown_system_message
    notices = list_notices(conversation, model.answers, unknown_system_message=rule, param=param)
    return {NOTICE_HEADER: " ".join(notices)} if notices else {}


def describe_body(model: type[StrictBody]) -> dict[str, Any]:
    """Return what OpenAPI says of a route that reads its body as `model` by itself."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    content = {"application/json": {"schema": _inline(schema, definitions)}}
    return {"requestBody": {"required": True, "content": content}}


def _inline(value: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its definitions in the places that refer to them."""
    if isinstance(value, list):
        return [_inline(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inline(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(item, definitions) for key, item in value.items()}
