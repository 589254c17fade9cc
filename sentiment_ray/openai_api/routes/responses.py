"""The route of responses in their text form."""

import orjson
from fastapi import Request, Response

from sentiment_ray.openai_api.answering import describe_body, list_notice_headers
from sentiment_ray.openai_api.response import ResponseBody, make_response, read_response_request
from sentiment_ray.openai_api.response_stream import write_response_stream
from sentiment_ray.openai_api.routing import make_router
from sentiment_ray.openai_api.service import Service

router = make_router()


@router.post("/responses", openapi_extra=describe_body(ResponseBody))
async def create_response(request: Request) -> Response:
    """Answer with the label of the last user message of the input."""
    service: Service = request.app.state.service
    asked = read_response_request(await request.body())
    async with service.models.use(request.scope["project_id"], asked.body.model) as model:
        headers = list_notice_headers(asked.conversation, model, service.config, param="input")
        row = await model.score(asked.conversation.text)
        if asked.body.stream:
            return Response(write_response_stream(asked, row, model.answers), 200, headers, "text/event-stream")
        return Response(orjson.dumps(make_response(asked, row, model.answers)), 200, headers, "application/json")
