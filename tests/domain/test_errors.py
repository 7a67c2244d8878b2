from collections.abc import Iterator

import pytest

from domain import errors
from domain.errors import DefinitionInvalidError, ErrorCode, FlowRunsError, InputInvalidError, Problem, ProblemsError

# What clients have learned by heart: a code may be added, and none may change or go.
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
    "UNAUTHENTICATED",
}
BASES = {FlowRunsError, errors.RequestError, errors.UserError, ProblemsError}
# Told where no exception of ours is raised: by the service, and for what is masked.
WITHOUT_A_CLASS = {ErrorCode.BAD_REQUEST, ErrorCode.INTERNAL_ERROR}


def subclasses(of: type[FlowRunsError]) -> Iterator[type[FlowRunsError]]:
    for each in of.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
        yield from subclasses(each)


CONCRETE = [each for each in subclasses(FlowRunsError) if each not in BASES and each.__module__ == errors.__name__]
PLAIN = [each for each in CONCRETE if not issubclass(each, ProblemsError | errors.QuotaExceededError)]


def test_codes_are_stable() -> None:
    assert set(ErrorCode) >= STABLE_CODES
    assert all(code.name == code.value for code in ErrorCode)


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [each.code for each in CONCRETE]
    assert sorted(codes) == sorted(set(ErrorCode) - WITHOUT_A_CLASS)


@pytest.mark.parametrize("error", PLAIN, ids=lambda each: each.__name__)
def test_the_docstring_is_the_message(error: type[FlowRunsError]) -> None:
    assert error.__doc__
    assert error().message == str(error()) == error.__doc__
    assert error.__doc__ == error.__doc__.strip()


@pytest.mark.parametrize("error", CONCRETE, ids=lambda each: each.__name__)
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
    assert raised.message.startswith("it: expected an object; steps[0]: expected more; ")
    assert raised.message.endswith("steps[3]: expected more")
    assert len(raised.problems) == 8
