import pytest

from domain.enums import Role


@pytest.mark.parametrize(
    ("role", "included"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.OPERATOR, {Role.VIEWER, Role.OPERATOR}),
        (Role.ADMIN, {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
    ],
)
def test_role_includes_all_lower_roles(role: Role, included: set[Role]) -> None:
    assert {other for other in Role if role.includes(other)} == included
