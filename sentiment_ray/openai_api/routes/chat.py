"""The route of chat completions. It reads its body and writes its answer itself, because it is asked most often."""

import orjson
from fastapi import Request, Response

from sentiment_ray.openai_api.answering import describe_body, list_notice_headers
from sentiment_ray.openai_api.chat_answer import make_completion
from sentiment_ray.openai_api.chat_request import ChatBody, read_chat_request
from sentiment_ray.openai_api.chat_stream import write_stream
from sentiment_ray.openai_api.routing import make_router
from sentiment_ray.openai_api.service import Service

router = make_router()


@router.post("/chat/completions", openapi_extra=describe_body(ChatBody))
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat with the label of its last user message."""
    service: Service = request.app.state.service
    chat = read_chat_request(await request.body())
    async with service.models.use(request.scope["project_id"], chat.model) as model:
        headers = list_notice_headers(chat.conversation, model, service.config, param="messages")
        row = await model.score(chat.text)
        if chat.stream:
            return Response(write_stream(chat, row, model.answers), 200, headers, "text/event-stream")
        return Response(orjson.dumps(make_completion(chat, row, model.answers)), 200, headers, "application/json")
