"""HTTP: the GraphQL endpoint, its page, authentication, downloads and webhooks."""
