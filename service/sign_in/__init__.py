"""Sign-in of people through an OpenID provider."""
