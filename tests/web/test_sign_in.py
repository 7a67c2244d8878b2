"""Sign-in through a real OpenID provider in a browser, below a path: groups to roles, sign-out, no provider."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.databases.postgres import free_port
from tests.support.processes.openid_provider import CLIENT_ID, CLIENT_SECRET, openid_provider
from tests.support.processes.path_proxy import below_path
from tests.support.processes.server import run_server
from tests.web.test_graphiql import Watch, page

__all__ = ["page"]

GROUPS = {"ada": ["ops"], "eve": ["guests"]}
ROLES = '{"ops": ["OPERATOR", "ADMIN@other"]}'


def settings(port: int) -> dict[str, Any]:
    """The settings of a service whose provider is on `port`."""
    return {
        "oidc_issuer": f"http://localhost:{port}",  # another site than the service at 127.0.0.1
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_roles": ROLES,
        "oidc_label": "the company",
    }


async def sign_in(page: Page, name: str) -> None:
    """Signs in at the provider, from the page of the service that offers it."""
    await page.get_by_role("link", name=re.compile("^(Sign in with the company|Try again)$")).click()
    await page.get_by_placeholder("Enter any login").fill(name)
    await page.get_by_placeholder("and password").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()


async def sign_out(page: Page) -> None:
    """Signs out in the console, and says yes to the provider."""
    await page.get_by_role("button", name=re.compile("^Account")).click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await page.get_by_role("button", name="Yes, sign me out").click()


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_people_sign_in_and_out_with_the_roles_of_their_groups(
    page: Page, new_database_url: Callable[[], str]
) -> None:
    watch = Watch(page)
    port = free_port()
    alert = page.get_by_role("alert")
    # Below a path of a proxy, where each address that leaves out the path is found.
    async with run_server(new_database_url(), **settings(port)) as server:
        with below_path(server.url, "/flowruns") as url:
            await page.goto(f"{url}/flows")
            await page.get_by_role("link", name="Sign in with the company").click()
            await expect(alert).to_have_text(
                "The identity provider cannot be reached. Try again later, or sign in with an API key."
            )
            await page.get_by_role("link", name="Sign in with an API key").click()
            await page.get_by_label("API key").fill(server.app.keys.viewer)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("button", name="Account, default")).to_be_visible()
            await page.context.clear_cookies()

            async with openid_provider(port, url, GROUPS) as provider:
                await page.goto(f"{url}/flows?enabled=true")
                await sign_in(page, "ada")
                await expect(page).to_have_url(f"{url}/flows?enabled=true")
                await page.get_by_role("button", name="Account, default").click()
                await expect(page.get_by_text("ada of the tests, Operator")).to_be_visible()
                # The provider remembers the person, and asks no question.
                await page.get_by_role("menuitem", name="Change to other").click()
                await page.get_by_role("button", name="Account, other").click()
                await expect(page.get_by_text("ada of the tests, Admin")).to_be_visible()
                await page.keyboard.press("Escape")
                await page.goto(f"{url}/graphql")
                await expect(page.get_by_role("group", name="Session")).to_contain_text("admin")
                await page.goto(f"{url}/flows")

                await sign_out(page)
                await expect(page).to_have_url(f"{url}/")
                await sign_in(page, "eve")
                await expect(alert).to_contain_text("You are signed in as eve of the tests, but none of your groups")
                await sign_in(page, "ada")
                await expect(page.get_by_role("button", name="Account, default")).to_be_visible()

                provider.process.kill()
                await provider.process.wait()
                await page.get_by_role("button", name="Account, default").click()
                # The session of the service remains valid without the provider.
                await page.get_by_role("menuitem", name="Change to other").click()
                await expect(alert).to_contain_text("The identity provider cannot be reached.")
                await page.goto(f"{url}/flows")
                await expect(page.get_by_role("button", name="Account, default")).to_be_visible()
                # The page is left before the proxy ends, which would break its live connection.
                await expect(page.get_by_role("status").filter(has_text="Live").first).to_be_visible()
                await page.goto("about:blank")
    # The browser reports refusals: of the provider, and of requests that were on their way when a session ended. It
    # reports nothing else.
    refusals = ("Failed to load resource", "The request has no valid API key")
    assert [error for error in watch.errors if not any(refusal in error for refusal in refusals)] == []
