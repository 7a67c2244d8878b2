"""The mutations, one module a topic; `root` unites them."""
