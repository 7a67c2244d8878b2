"""The GraphQL contract of what is sent to other systems and to people."""

_PAGE = "first after last before"

TYPES = {
    "Endpoint": """id name url filter kinds payloads enabled disabledReason disabledAt failingSince secretOverlapUntil
        createdAt changedAt changedBy project deliveries""",
    "Delivery": """id kind status attemptCount responseStatus eventAt createdAt endedAt nextAttemptAt runId run endpoint
        isCallback attempts""",
    "DeliveryAttempt": "number startedAt durationMs responseStatus error message excerpt",
    "CreateEndpointInput": "name url filter kinds payloads enabled projectId",
    "UpdateEndpointInput": "id name url filter kinds payloads enabled",
    "DeliveryFilter": "endpointIds runIds statuses kinds projectIds createdAfter createdBefore",
}
ARGUMENTS = {
    "Query.endpoints": f"enabled {_PAGE}",
    "Query.deliveries": f"filter {_PAGE}",
    "Endpoint.deliveries": _PAGE,
    "EndpointConnection.totalCount": "limit",
    "DeliveryConnection.totalCount": "limit",
    "Mutation.createEndpoint": "input",
    "Mutation.updateEndpoint": "input",
    "Mutation.rotateEndpointSecret": "id overlap",
    "Mutation.deleteEndpoint": "id",
    "Mutation.testEndpoint": "id",
    "Mutation.redeliver": "id",
    "Mutation.redeliverAll": "endpointId filter",
}
VALUES = {
    "EventKind": """RUN_STATUS_CHANGED RUN_ENDED RUN_RECOVERED RUN_CHANGED RUN_ARCHIVED RUN_UNARCHIVED
        INPUT_REQUEST_CHANGED TEST""",
    "DeliveryStatus": "PENDING DELIVERED FAILED CANCELLED",
    "EndpointDisabledReason": "REQUESTED GONE FAILING",
    "DeliveryAttemptError": "STATUS REDIRECT TIMEOUT CONNECTION_FAILED ADDRESS_REFUSED KEY_MISSING",
}
UNIONS = {
    "CreateEndpointResult": """CreateEndpointSuccess EndpointInvalid SecretKeysMissing ProjectRequired
        ProjectNotFound""",
    "UpdateEndpointResult": "UpdateEndpointSuccess EndpointNotFound EndpointInvalid",
    "RotateEndpointSecretResult": "RotateEndpointSecretSuccess EndpointNotFound SecretKeysMissing",
    "DeleteEndpointResult": "DeleteEndpointSuccess EndpointNotFound",
    "TestEndpointResult": "TestEndpointSuccess EndpointNotFound EndpointInvalid",
    "RedeliverResult": "RedeliverSuccess DeliveryNotFound DeliveryNotEnded",
    "RedeliverAllResult": "RedeliverAllSuccess EndpointNotFound",
}
