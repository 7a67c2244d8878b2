"""The mutations, one module for each topic; `root` unites them."""
