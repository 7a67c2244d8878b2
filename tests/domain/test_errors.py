import re
from http import HTTPStatus

import pytest

from domain import errors
from domain.error_declarations import ErrorField, declared, fields_of
from domain.errors import DefinitionInvalidError, FlowRunsError, InputInvalidError, ProblemsError
from domain.problem import Problem

# Clients depend on these codes: none may change or disappear.
STABLE_CODES = {
    "BAD_REQUEST",
    "DATABASE_UNAVAILABLE",
    "DEFINITION_INVALID",
    "FLOW_DISABLED",
    "FLOW_NAME_TAKEN",
    "FLOW_NOT_FOUND",
    "FLOW_NOT_PUBLISHED",
    "FORBIDDEN",
    "IDEMPOTENCY_CONFLICT",
    "INPUT_INVALID",
    "INPUT_TOO_LARGE",
    "INTERNAL_ERROR",
    "INVALID_ARGUMENT",
    "INVALID_CURSOR",
    "INVALID_ID",
    "PARENT_NOT_LIVE",
    "PAYLOAD_TOO_LARGE",
    "PROJECT_NOT_FOUND",
    "PROJECT_REQUIRED",
    "QUERY_TOO_COMPLEX",
    "RETRY_LIMIT_REACHED",
    "RUN_NOT_FOUND",
    "RUN_NOT_RETRYABLE",
    "STEP_DATA_EXPIRED",
    "STEP_NOT_REACHED",
    "UNAUTHENTICATED",
}
BASES = {FlowRunsError, errors.RequestError, errors.UserError, errors.RunNamedError, ProblemsError}
DECLARED = list(declared(FlowRunsError))
WITH_ARGUMENTS = ProblemsError | errors.QuotaExceededError | errors.InternalError
PLAIN = [error for error in DECLARED if not issubclass(error, WITH_ARGUMENTS) and not fields_of(error)]


def test_codes_are_stable() -> None:
    assert {error.code for error in DECLARED} >= STABLE_CODES


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in DECLARED]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[A-Z]+(_[A-Z]+)*", code) for code in codes)


def test_every_class_but_the_bases_is_declared() -> None:
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FlowRunsError)}
    assert classes - BASES == set(DECLARED)


@pytest.mark.parametrize("error", DECLARED, ids=lambda error: error.__name__)
def test_status_is_one_of_an_error(error: type[FlowRunsError]) -> None:
    # Clients of automatic persisted queries send the document after this answer, and expect it under 200.
    is_ok = error in (errors.PersistedQueryNotSupportedError, errors.PersistedQueryNotFoundError)
    assert (error.http_status < HTTPStatus.BAD_REQUEST) is is_ok
    assert (error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR) is (error is errors.InternalError)


def test_fields_have_a_type_and_a_description() -> None:
    (field,) = fields_of(InputInvalidError).values()
    assert field == ErrorField(tuple[Problem, ...], "The problems that were found.")
    assert list(fields_of(errors.QuotaExceededError)) == ["run_id"]
    assert fields_of(errors.RunNotFoundError) == {}


def test_details_are_the_values_of_the_fields() -> None:
    assert errors.SlowConsumerError(cursor="c").details == {"cursor": "c"}
    assert errors.InternalError("f00").details == {"correlation_id": "f00"}
    assert "f00" in errors.InternalError("f00").message
    assert errors.RunNotFoundError().details == {}


@pytest.mark.parametrize("error", PLAIN, ids=lambda error: error.__name__)
def test_the_docstring_is_the_message(error: type[FlowRunsError]) -> None:
    assert error.__doc__
    assert error().message == str(error()) == error.__doc__
    assert error.__doc__ == error.__doc__.strip()


@pytest.mark.parametrize(
    "error", [error for error in DECLARED if error is not errors.InternalError], ids=lambda error: error.__name__
)
def test_an_error_is_of_the_mutation_or_of_the_request(error: type[FlowRunsError]) -> None:
    assert issubclass(error, errors.UserError) is not issubclass(error, errors.RequestError)
    assert (error.__doc__ or "") not in {base.__doc__ for base in BASES}


def test_an_own_message_replaces_the_docstring() -> None:
    error = errors.RunNotFoundError("There is no such parent run.")
    assert error.message == str(error) == "There is no such parent run."


@pytest.mark.parametrize("error", [DefinitionInvalidError, InputInvalidError])
def test_the_first_problems_make_the_message_and_all_are_kept(error: type[ProblemsError]) -> None:
    problems = [Problem(f"steps[{number}]", "expected more") for number in range(7)]
    raised = error([Problem("", "expected an object"), *problems])
    assert raised.message.startswith("expected an object; steps[0]: expected more; ")
    assert raised.message.endswith("steps[3]: expected more")
    assert len(raised.problems) == 8
