"""The GraphQL contract of what is sent to other systems and to people."""

_PAGE = "first after last before"

MUTATIONS = """createEndpoint updateEndpoint rotateEndpointSecret deleteEndpoint testEndpoint redeliver redeliverAll
    createAlert updateAlert deleteAlert testAlert"""
AUDIT_ACTIONS = """CREATE_ENDPOINT UPDATE_ENDPOINT ROTATE_ENDPOINT_SECRET DELETE_ENDPOINT TEST_ENDPOINT REDELIVER
    REDELIVER_ALL CREATE_ALERT UPDATE_ALERT DELETE_ALERT TEST_ALERT"""
TYPES = {
    "Endpoint": """id name url filter kinds payloads enabled disabledReason disabledAt failingSince secretOverlapUntil
        createdAt changedAt changedBy project deliveries""",
    "Delivery": """id kind status attemptCount responseStatus eventAt createdAt endedAt nextAttemptAt runId run endpoint
        isCallback attempts""",
    "DeliveryAttempt": "number startedAt durationMs responseStatus error message excerpt",
    "Alert": """id name condition threshold filter quietSeconds enabled targetScheme createdAt changedAt changedBy
        project notifications""",
    "Notification": """id status isTest count firstAt lastAt attemptCount message createdAt endedAt runId run flow
        endpoint alert""",
    "CreateAlertInput": "name target condition filter threshold quiet enabled projectId",
    "UpdateAlertInput": "id name target condition filter threshold quiet enabled",
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
    "Query.alerts": _PAGE,
    "Alert.notifications": _PAGE,
    "AlertConnection.totalCount": "limit",
    "NotificationConnection.totalCount": "limit",
    "Mutation.createAlert": "input",
    "Mutation.updateAlert": "input",
    "Mutation.deleteAlert": "id",
    "Mutation.testAlert": "id",
}
VALUES = {
    "EventKind": """RUN_STATUS_CHANGED RUN_ENDED RUN_RECOVERED RUN_CHANGED RUN_ARCHIVED RUN_UNARCHIVED
        INPUT_REQUEST_CHANGED TEST""",
    "DeliveryStatus": "PENDING DELIVERED FAILED CANCELLED",
    "EndpointDisabledReason": "REQUESTED GONE FAILING",
    "DeliveryAttemptError": "STATUS REDIRECT TIMEOUT CONNECTION_FAILED ADDRESS_REFUSED KEY_MISSING",
    "AlertCondition": "FAILURE NEW_ERROR CONSECUTIVE_FAILURES LATE SLOW ENDPOINT_DISABLED",
    "NotificationStatus": "PENDING SENT FAILED",
}
UNIONS = {
    "CreateEndpointResult": """CreateEndpointSuccess EndpointInvalid SecretKeysMissing ProjectRequired
        ProjectNotFound""",
    "UpdateEndpointResult": "UpdateEndpointSuccess EndpointNotFound EndpointInvalid SecretKeysMissing",
    "RotateEndpointSecretResult": "RotateEndpointSecretSuccess EndpointNotFound SecretKeysMissing",
    "DeleteEndpointResult": "DeleteEndpointSuccess EndpointNotFound",
    "TestEndpointResult": "TestEndpointSuccess EndpointNotFound EndpointInvalid",
    "RedeliverResult": "RedeliverSuccess DeliveryNotFound DeliveryNotEnded",
    "RedeliverAllResult": "RedeliverAllSuccess EndpointNotFound",
    "CreateAlertResult": "CreateAlertSuccess AlertInvalid SecretKeysMissing ProjectRequired ProjectNotFound",
    "UpdateAlertResult": "UpdateAlertSuccess AlertNotFound AlertInvalid SecretKeysMissing",
    "DeleteAlertResult": "DeleteAlertSuccess AlertNotFound",
    "TestAlertResult": "TestAlertSuccess AlertNotFound",
}
