"""Pages under which people answer questions by signed links."""
