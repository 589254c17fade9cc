"""The route of decisions: each question is a choice among labels, answered with confidence and probabilities."""

import orjson
from fastapi import Request, Response

from sentiment_ray.openai_api.answering import describe_body, list_notice_headers
from sentiment_ray.openai_api.decision import DecisionBody, make_decision, read_decision_request
from sentiment_ray.openai_api.routing import make_router
from sentiment_ray.openai_api.service import Service

router = make_router()


@router.post("/decisions", openapi_extra=describe_body(DecisionBody))
async def create_decision(request: Request) -> Response:
    """Answer questions about a text."""
    service: Service = request.app.state.service
    decision = read_decision_request(await request.body())
    async with service.models.use(request.scope["project_id"], decision.model) as model:
        headers = list_notice_headers(decision.conversation, model, service.config, param="input")
        row = await model.score(decision.conversation.text)
        body = orjson.dumps(make_decision(decision, row, model.answers))
    return Response(body, 200, headers, "application/json")
